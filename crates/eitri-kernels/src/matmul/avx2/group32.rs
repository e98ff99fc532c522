//! Weights with one scale and one minimum per 32 values, times 8-bit activations.
//!
//! A 16-bit lane adds the sixteen products of its two bytes in a group and is widened once a group.
//! Codes of 4 bits fit (16 * 15 * 127); larger ones do when the lane starts at minus the centre times
//! the sum of its activations, whatever wraps on the way.
//!
//! A few rows are multiplied while the strip is unpacked. With more, eight groups are unpacked into
//! the first-level cache for all of them. Both are the same operations in the same order.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi16, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{
    Kernel, LANES, Prepare, StripCall, broadcast, checked, float, load, pinned, prefetch_bytes,
    prepare, record_pointers, store,
};
use crate::{
    matmul::{MAX_ROWS, tiles},
    weight::GROUP,
};

/// Rows of activations per tile: ten registers of sums leave room for codes, operand and product.
const TILE: usize = 5;
/// Groups that are unpacked together.
const PIECE: usize = 8;
/// Vectors of codes of a group for each half of a strip.
const VECTORS: usize = GROUP / 4;

/// A format whose values are `(code - CENTRE) * scale + middle`.
pub(super) trait Group32 {
    /// Taken from each code before it is multiplied.
    const CENTRE: i16;
    /// Whether `middle` is zero.
    const SYMMETRIC: bool;
    /// Groups of 32 in a block.
    const GROUPS: usize;
    /// Bytes of a block in a strip.
    const BLOCK: usize;

    /// What activations are multiplied by beforehand, so that the scales need not be: a power of two.
    const UNIT: f32 = 1.0;

    /// Vector `v` of the unsigned codes of one half of a group.
    ///
    /// # Safety
    /// As for the folder: `block` is a whole block of a strip.
    unsafe fn codes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i;

    /// What the groups of a block have in common, read once.
    ///
    /// # Safety
    /// As for [`Self::codes`].
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(_: *const u8) -> Halves {
        [[_mm256_setzero_ps(); 2]; 2]
    }

    /// Scale and middle of both halves of a group, over [`Self::UNIT`].
    ///
    /// # Safety
    /// As for [`Self::codes`]; `factors` are those of the block.
    unsafe fn parameters(block: *const u8, factors: &Halves, group: usize) -> Halves;
}

/// Two vectors of parameters for each half of a strip.
pub(super) type Halves = [[__m256; 2]; 2];

/// The kernel of a format.
pub(super) fn kernel<F: Group32>(name: &'static str) -> Kernel {
    let prepare = Prepare { record: prepare::GROUP32_RECORD, row: prepare::group32::<F> as _ };
    Kernel { name, prepare: Some(prepare), run: multiply::<F> as _ }
}

/// Where a tile's codes come from.
trait Source {
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m256i;
    unsafe fn factors(&self, group: usize) -> Halves;
    unsafe fn parameters(&self, factors: &Halves, group: usize) -> Halves;
    unsafe fn request(&self, group: usize);
}

/// A strip as it is.
struct Packed<F> {
    strip: *const u8,
    format: std::marker::PhantomData<F>,
}

impl<F: Group32> Packed<F> {
    /// # Safety
    /// The strip holds the group.
    #[inline]
    unsafe fn block(&self, group: usize) -> *const u8 {
        // SAFETY: the caller's.
        unsafe { self.strip.add(group / F::GROUPS * F::BLOCK) }
    }
}

impl<F: Group32> Source for Packed<F> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { F::codes(self.block(group), group % F::GROUPS, half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(&self, group: usize) -> Halves {
        // SAFETY: the caller's.
        unsafe { F::factors(self.block(group)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn parameters(&self, factors: &Halves, group: usize) -> Halves {
        // SAFETY: the caller's.
        unsafe { F::parameters(self.block(group), factors, group % F::GROUPS) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, group: usize) {
        let bytes = F::BLOCK / F::GROUPS;
        prefetch_bytes(self.strip.wrapping_add(group * bytes), bytes);
    }
}

/// Unpacked groups.
#[repr(align(32))]
struct Piece {
    codes: [[[u8; 4 * LANES]; 2 * VECTORS]; PIECE],
    parameters: [Halves; PIECE],
}

impl Source for Piece {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the array has room for a vector.
        unsafe { load(self.codes[group][2 * v + half].as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(&self, _: usize) -> Halves {
        [[_mm256_setzero_ps(); 2]; 2]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn parameters(&self, _: &Halves, group: usize) -> Halves {
        self.parameters[group]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, _: usize) {}
}

impl Piece {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<F: Group32>(&mut self, strip: &Packed<F>, first: usize, count: usize) {
        // SAFETY: the caller's strip holds the groups; each array has room for what is stored.
        unsafe {
            for g in 0..count {
                strip.request(first + g);
                for half in 0..2 {
                    for v in 0..VECTORS {
                        let to = self.codes[g][2 * v + half].as_mut_ptr();
                        _mm256_storeu_si256(to.cast(), strip.codes(first + g, half, v));
                    }
                }
                self.parameters[g] = strip.parameters(&strip.factors(first + g), first + g);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<F: Group32>(call: &StripCall<'_>, out: &mut [f32]) {
    let groups = call.k / GROUP;
    checked(call, groups / F::GROUPS * F::BLOCK, groups * prepare::GROUP32_RECORD, out);
    let strip = Packed::<F> { strip: call.strip.as_ptr(), format: std::marker::PhantomData };
    let mut sums = [[_mm256_setzero_ps(); 2]; MAX_ROWS];
    let rows = call.rows.len();
    if rows <= TILE {
        // SAFETY: sizes are checked.
        unsafe { rows_of::<F, _>(&strip, 0..groups, call, (0, rows), &mut sums) };
    } else {
        let mut piece = Piece {
            codes: [[[0; 4 * LANES]; 2 * VECTORS]; PIECE],
            parameters: [[[_mm256_setzero_ps(); 2]; 2]; PIECE],
        };
        for first in (0..groups).step_by(PIECE) {
            let end = groups.min(first + PIECE);
            // SAFETY: the checked strip holds these groups.
            unsafe { piece.unpack(&strip, first, end - first) };
            tiles(rows, TILE, |start, size| {
                // SAFETY: sizes are checked; `start + size` is at most the number of rows.
                unsafe {
                    rows_of::<F, _>(&piece, first..end, call, (start, size), &mut sums[start..]);
                }
            });
        }
    }
    for (row, sums) in sums.iter().take(rows).enumerate() {
        store(&[*sums], row, out);
    }
}

/// Adds the products of some groups, which are the first ones of `source`, to the sums of `size`
/// rows from `start` on.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows_of<F: Group32, S: Source>(
    source: &S,
    groups: std::ops::Range<usize>,
    call: &StripCall<'_>,
    (start, size): (usize, usize),
    sums: &mut [[__m256; 2]],
) {
    // SAFETY: the caller's.
    unsafe {
        match size {
            0 => {}
            1 => tile::<F, S, 1>(source, groups, call, start, sums),
            2 => tile::<F, S, 2>(source, groups, call, start, sums),
            3 => tile::<F, S, 3>(source, groups, call, start, sums),
            4 => tile::<F, S, 4>(source, groups, call, start, sums),
            _ => tile::<F, S, TILE>(source, groups, call, start, sums),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<F: Group32, S: Source, const M: usize>(
    source: &S,
    groups: std::ops::Range<usize>,
    call: &StripCall<'_>,
    start: usize,
    total: &mut [[__m256; 2]],
) {
    const RECORD: usize = prepare::GROUP32_RECORD;
    let ones = _mm256_set1_epi16(1);
    let Some(total) = total.first_chunk_mut::<M>() else { return };
    // A copy whose address nobody has, so that it lives in registers.
    let mut acc = *total;
    // SAFETY: the caller's source holds the groups, and each row a record for each.
    unsafe {
        let mut records = record_pointers::<M>(call, start, call.k / GROUP * RECORD);
        for record in &mut records {
            *record = record.add(groups.start * RECORD);
        }
        let mut factors = source.factors(0);
        for g in 0..groups.len() {
            if M < 4 {
                source.request(g);
            }
            if F::GROUPS > 1 && g > 0 && g.is_multiple_of(F::GROUPS) {
                factors = source.factors(g);
            }
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            if F::CENTRE != 0 {
                for m in 0..M {
                    sums[m] = [broadcast(records[m].add(40)); 2];
                }
            }
            for v in 0..VECTORS {
                let w = [source.codes(g, 0, v), source.codes(g, 1, v)];
                for m in 0..M {
                    let x = broadcast(records[m].add(4 * v));
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(w[half], x);
                        sums[m][half] = pinned(_mm256_add_epi16(sums[m][half], products));
                    }
                }
            }
            let parameters = source.parameters(&factors, g);
            for m in 0..M {
                let d = _mm256_set1_ps(float(records[m].add(32)));
                let offset = _mm256_set1_ps(float(records[m].add(36)));
                for half in 0..2 {
                    let [scale, middle] = parameters[half];
                    let sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums[m][half], ones));
                    if !F::SYMMETRIC {
                        acc[m][half] = _mm256_fmadd_ps(middle, offset, acc[m][half]);
                    }
                    acc[m][half] = _mm256_fmadd_ps(_mm256_mul_ps(sum, d), scale, acc[m][half]);
                }
                records[m] = records[m].add(RECORD);
            }
        }
    }
    *total = acc;
}
