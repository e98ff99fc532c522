//! Weights of up to 8 signed bits times 16-bit activations.
//!
//! Signed bytes times signed bytes need either a sign transfer and a widening addition for each
//! product, or 16-bit operands; both take two multiplications per 32 products, and the latter keeps
//! 15 bits of each activation.
//!
//! A few rows are multiplied while the strip is unpacked. With more, eight groups are unpacked into
//! the first-level cache for all of them. Both are the same operations in the same order.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_madd_epi16,
    _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi16,
    _mm256_srai_epi16,
};

use super::{
    Kernel, LANES, Prepare, ROWS, StripCall, broadcast, checked, float, load, load_f16, pinned,
    prefetch_bytes, prepare, record_pointers, store,
};
use crate::{
    matmul::{MAX_ROWS, tiles},
    weight::GROUP,
};

/// Rows of activations per tile: ten registers of sums leave room for codes, operand and product.
pub(super) const TILE: usize = 5;
/// Groups that are unpacked together.
const PIECE: usize = 8;
/// Vectors of codes of a group for each half of a strip.
const VECTORS: usize = GROUP / 4;

/// A format whose values are a signed byte times a scale per 32.
pub(super) trait Signed {
    /// Groups of 32 in a block.
    const GROUPS: usize;
    /// Bytes of a block in a strip.
    const BLOCK: usize;
    /// With more rows than these it pays to unpack a strip once for all tiles.
    const DIRECT_ROWS: usize;

    /// Vector `v` of the bytes of one half of a group: cells of k 0, 2, 1, 3, so that the even and the
    /// odd bytes each widen to 16-bit pairs of neighbouring k with shifts alone.
    ///
    /// # Safety
    /// As for the folder: `block` is a whole block of a strip.
    unsafe fn bytes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i;

    /// Scales of one half of a group.
    ///
    /// # Safety
    /// As for [`Self::bytes`].
    unsafe fn scale(block: *const u8, group: usize, half: usize) -> __m256;
}

/// Pairs of k 0 and 1, and of k 2 and 3, in 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn widened(bytes: __m256i) -> [__m256i; 2] {
    [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)]
}

/// `I8` weights.
pub(super) struct I8;

impl Signed for I8 {
    const GROUPS: usize = 1;
    const BLOCK: usize = ROWS * (GROUP + 2);
    /// Two shifts a vector cost less than storing twice the bytes and loading them again.
    const DIRECT_ROWS: usize = MAX_ROWS;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bytes(block: *const u8, _: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { load(block.add(2 * ROWS + half * LANES * GROUP + 4 * LANES * v)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scale(block: *const u8, _: usize, half: usize) -> __m256 {
        // SAFETY: the caller's.
        unsafe { load_f16(block.add(2 * LANES * half)) }
    }
}

/// The kernel of a format.
pub(super) fn kernel<F: Signed>(name: &'static str) -> Kernel {
    let prepare = Prepare { record: prepare::I16_RECORD, row: prepare::i16 as _ };
    Kernel { name, prepare: Some(prepare), run: multiply::<F> as _ }
}

/// Where a tile's weights come from.
trait Source {
    unsafe fn pairs(&self, group: usize, half: usize, v: usize) -> [__m256i; 2];
    unsafe fn scale(&self, group: usize, half: usize) -> __m256;
    unsafe fn request(&self, group: usize);
}

/// A strip as it is.
struct Packed<F> {
    strip: *const u8,
    format: std::marker::PhantomData<F>,
}

impl<F: Signed> Packed<F> {
    /// # Safety
    /// The strip holds the group.
    #[inline]
    unsafe fn block(&self, group: usize) -> *const u8 {
        // SAFETY: the caller's.
        unsafe { self.strip.add(group / F::GROUPS * F::BLOCK) }
    }
}

impl<F: Signed> Source for Packed<F> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn pairs(&self, group: usize, half: usize, v: usize) -> [__m256i; 2] {
        // SAFETY: the caller's.
        widened(unsafe { F::bytes(self.block(group), group % F::GROUPS, half, v) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scale(&self, group: usize, half: usize) -> __m256 {
        // SAFETY: the caller's.
        unsafe { F::scale(self.block(group), group % F::GROUPS, half) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, group: usize) {
        let bytes = F::BLOCK / F::GROUPS;
        prefetch_bytes(self.strip.wrapping_add(group * bytes), bytes);
    }
}

/// Unpacked groups.
struct Piece {
    pairs: [[[[__m256i; 2]; 2]; VECTORS]; PIECE],
    scale: [[__m256; 2]; PIECE],
}

impl Source for Piece {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn pairs(&self, group: usize, half: usize, v: usize) -> [__m256i; 2] {
        self.pairs[group][v][half]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scale(&self, group: usize, half: usize) -> __m256 {
        self.scale[group][half]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, _: usize) {}
}

impl Piece {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<F: Signed>(&mut self, strip: &Packed<F>, first: usize, count: usize) {
        // SAFETY: the caller's strip holds the groups.
        unsafe {
            for g in 0..count {
                strip.request(first + g);
                for half in 0..2 {
                    for v in 0..VECTORS {
                        self.pairs[g][v][half] = strip.pairs(first + g, half, v);
                    }
                    self.scale[g][half] = strip.scale(first + g, half);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<F: Signed>(call: &StripCall<'_>, out: &mut [f32]) {
    let groups = call.k / GROUP;
    checked(call, groups / F::GROUPS * F::BLOCK, groups * prepare::I16_RECORD, out);
    let strip = Packed::<F> { strip: call.strip.as_ptr(), format: std::marker::PhantomData };
    let mut sums = [[_mm256_setzero_ps(); 2]; MAX_ROWS];
    let rows = call.rows.len();
    if rows <= F::DIRECT_ROWS {
        tiles(rows, TILE, |start, size| {
            // SAFETY: sizes are checked; `start + size` is at most the number of rows.
            unsafe { rows_of(&strip, 0..groups, call, (start, size), &mut sums[start..]) };
        });
    } else {
        let mut piece = Piece {
            pairs: [[[[_mm256_setzero_si256(); 2]; 2]; VECTORS]; PIECE],
            scale: [[_mm256_setzero_ps(); 2]; PIECE],
        };
        for first in (0..groups).step_by(PIECE) {
            let end = groups.min(first + PIECE);
            // SAFETY: the checked strip holds these groups.
            unsafe { piece.unpack(&strip, first, end - first) };
            tiles(rows, TILE, |start, size| {
                // SAFETY: sizes are checked; `start + size` is at most the number of rows.
                unsafe {
                    rows_of(&piece, first..end, call, (start, size), &mut sums[start..]);
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
unsafe fn rows_of<S: Source>(
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
            1 => tile::<S, 1>(source, groups, call, start, sums),
            2 => tile::<S, 2>(source, groups, call, start, sums),
            3 => tile::<S, 3>(source, groups, call, start, sums),
            4 => tile::<S, 4>(source, groups, call, start, sums),
            _ => tile::<S, TILE>(source, groups, call, start, sums),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<S: Source, const M: usize>(
    source: &S,
    groups: std::ops::Range<usize>,
    call: &StripCall<'_>,
    start: usize,
    total: &mut [[__m256; 2]],
) {
    const RECORD: usize = prepare::I16_RECORD;
    let Some(total) = total.first_chunk_mut::<M>() else { return };
    // A copy whose address nobody has, so that it lives in registers.
    let mut acc = *total;
    // SAFETY: the caller's source holds the groups, and each row a record for each.
    unsafe {
        let mut records = record_pointers::<M>(call, start, call.k / GROUP * RECORD);
        for record in &mut records {
            *record = record.add(groups.start * RECORD);
        }
        for g in 0..groups.len() {
            if M < 4 {
                source.request(g);
            }
            // At most 32 * 128 * 32767 in a lane.
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            for v in 0..VECTORS {
                let w = [source.pairs(g, 0, v), source.pairs(g, 1, v)];
                for odd in 0..2 {
                    for m in 0..M {
                        let x = broadcast(records[m].add(8 * v + 4 * odd));
                        for half in 0..2 {
                            let products = _mm256_madd_epi16(w[half][odd], x);
                            sums[m][half] = pinned(_mm256_add_epi32(sums[m][half], products));
                        }
                    }
                }
            }
            let scale = [source.scale(g, 0), source.scale(g, 1)];
            for m in 0..M {
                let d = _mm256_set1_ps(float(records[m].add(64)));
                for half in 0..2 {
                    let sum = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[m][half]), d);
                    acc[m][half] = _mm256_fmadd_ps(sum, scale[half], acc[m][half]);
                }
                records[m] = records[m].add(RECORD);
            }
        }
    }
    *total = acc;
}
