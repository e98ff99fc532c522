//! Weights with one integer scale per 16 values and f32 factors per 256, times 8-bit activations.
//!
//! A 16-bit lane sums the eight products of its half cell in a sub-block of 16. It starts at minus
//! the centre times the sum of its activations, which keeps the final value within 8 * 32 * 127,
//! whatever wraps on the way. Multiplying lane pairs by the sub-block's scale then widens to 32 bits
//! in the same instruction.
//!
//! A few rows are multiplied while the strip is unpacked. With more, a block is unpacked into the
//! first-level cache for all of them. Both are the same operations in the same order.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_fmadd_ps,
    _mm256_fnmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256,
};

use super::{
    Kernel, Prepare, StripCall, broadcast, checked, float, pinned, prefetch_bytes, prepare,
    record_pointers, store,
};
use crate::{
    matmul::{MAX_ROWS, tiles},
    weight::GROUP,
};

/// Rows of activations per tile.
const TILE: usize = 4;
/// Values of k in a block.
pub(super) const BLOCK_K: usize = 256;
/// Groups of 32 in a block.
const GROUPS: usize = BLOCK_K / GROUP;
/// Vectors of codes of a group for each half of a strip.
const VECTORS: usize = GROUP / 4;

/// A format whose values are `(code - CENTRE) * scale * factor - minimum * minima's factor`.
pub(super) trait Group16 {
    /// Taken from each code before it is multiplied.
    const CENTRE: i16;
    /// Whether there are minima; then the centre is zero.
    const MINIMA: bool;
    /// Bytes of a block in a strip.
    const BLOCK: usize;

    /// Vector `v` of the unsigned codes of one half of a group.
    ///
    /// # Safety
    /// As for the folder: `block` is a whole block of a strip.
    unsafe fn codes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i;

    /// Scales of both halves of a group, each of the first and of the second 16 values, twice in each
    /// 32-bit cell.
    ///
    /// # Safety
    /// As for [`Self::codes`].
    unsafe fn scales(block: *const u8, group: usize) -> Halves;

    /// Minima in the same arrangement, if there are any.
    ///
    /// # Safety
    /// As for [`Self::codes`].
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn minima(_: *const u8, _: usize) -> Halves {
        [[_mm256_setzero_si256(); 2]; 2]
    }

    /// Factors of the scales and of the minima.
    ///
    /// # Safety
    /// As for [`Self::codes`].
    unsafe fn factors(block: *const u8, half: usize) -> [__m256; 2];
}

/// Two vectors of integers for each half of a strip.
pub(super) type Halves = [[__m256i; 2]; 2];

/// The kernel of a format.
pub(super) fn kernel<F: Group16>(name: &'static str) -> Kernel {
    let prepare = Prepare { record: prepare::GROUP16_RECORD, row: prepare::group16::<F> as _ };
    Kernel { name, prepare: Some(prepare), run: multiply::<F> as _ }
}

/// Where a tile's codes come from.
trait Source {
    unsafe fn codes(&self, block: usize, group: usize, half: usize, v: usize) -> __m256i;
    unsafe fn scales(&self, block: usize, group: usize) -> Halves;
    unsafe fn minima(&self, block: usize, group: usize) -> Halves;
    unsafe fn factors(&self, block: usize, half: usize) -> [__m256; 2];
    unsafe fn request(&self, block: usize, group: usize);
}

/// A strip as it is.
struct Packed<F> {
    strip: *const u8,
    format: std::marker::PhantomData<F>,
}

impl<F: Group16> Packed<F> {
    /// # Safety
    /// The strip holds the block.
    #[inline]
    unsafe fn block(&self, block: usize) -> *const u8 {
        // SAFETY: the caller's.
        unsafe { self.strip.add(block * F::BLOCK) }
    }
}

impl<F: Group16> Source for Packed<F> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(&self, block: usize, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { F::codes(self.block(block), group, half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(&self, block: usize, group: usize) -> Halves {
        // SAFETY: the caller's.
        unsafe { F::scales(self.block(block), group) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn minima(&self, block: usize, group: usize) -> Halves {
        // SAFETY: the caller's.
        unsafe { F::minima(self.block(block), group) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(&self, block: usize, half: usize) -> [__m256; 2] {
        // SAFETY: the caller's.
        unsafe { F::factors(self.block(block), half) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, block: usize, group: usize) {
        let bytes = F::BLOCK / GROUPS;
        prefetch_bytes(self.strip.wrapping_add(block * F::BLOCK + group * bytes), bytes);
    }
}

/// One unpacked block.
struct Piece {
    codes: [[[__m256i; 2]; VECTORS]; GROUPS],
    scales: [Halves; GROUPS],
    minima: [Halves; GROUPS],
    factors: [[__m256; 2]; 2],
}

impl Source for Piece {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(&self, _: usize, group: usize, half: usize, v: usize) -> __m256i {
        self.codes[group][v][half]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(&self, _: usize, group: usize) -> Halves {
        self.scales[group]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn minima(&self, _: usize, group: usize) -> Halves {
        self.minima[group]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(&self, _: usize, half: usize) -> [__m256; 2] {
        self.factors[half]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, _: usize, _: usize) {}
}

impl Piece {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<F: Group16>(&mut self, strip: &Packed<F>, block: usize) {
        // SAFETY: the caller's strip holds the block.
        unsafe {
            for g in 0..GROUPS {
                strip.request(block, g);
                for half in 0..2 {
                    for v in 0..VECTORS {
                        self.codes[g][v][half] = strip.codes(block, g, half, v);
                    }
                }
                self.scales[g] = strip.scales(block, g);
                if F::MINIMA {
                    self.minima[g] = strip.minima(block, g);
                }
            }
            self.factors = [strip.factors(block, 0), strip.factors(block, 1)];
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<F: Group16>(call: &StripCall<'_>, out: &mut [f32]) {
    let blocks = call.k / BLOCK_K;
    checked(call, blocks * F::BLOCK, blocks * GROUPS * prepare::GROUP16_RECORD, out);
    let strip = Packed::<F> { strip: call.strip.as_ptr(), format: std::marker::PhantomData };
    let mut sums = [[_mm256_setzero_ps(); 2]; MAX_ROWS];
    let rows = call.rows.len();
    if rows <= TILE {
        // SAFETY: sizes are checked.
        unsafe { rows_of::<F, _>(&strip, 0..blocks, call, (0, rows), &mut sums) };
    } else {
        let zero = _mm256_setzero_si256();
        let mut piece = Piece {
            codes: [[[zero; 2]; VECTORS]; GROUPS],
            scales: [[[zero; 2]; 2]; GROUPS],
            minima: [[[zero; 2]; 2]; GROUPS],
            factors: [[_mm256_setzero_ps(); 2]; 2],
        };
        for block in 0..blocks {
            // SAFETY: the checked strip holds the block.
            unsafe { piece.unpack(&strip, block) };
            tiles(rows, TILE, |start, size| {
                let blocks = block..block + 1;
                // SAFETY: sizes are checked; `start + size` is at most the number of rows.
                unsafe {
                    rows_of::<F, _>(&piece, blocks, call, (start, size), &mut sums[start..]);
                }
            });
        }
    }
    for (row, sums) in sums.iter().take(rows).enumerate() {
        store(&[*sums], row, out);
    }
}

/// Adds the products of some blocks, which are the first ones of `source`, to the sums of `size`
/// rows from `start` on.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows_of<F: Group16, S: Source>(
    source: &S,
    blocks: std::ops::Range<usize>,
    call: &StripCall<'_>,
    (start, size): (usize, usize),
    sums: &mut [[__m256; 2]],
) {
    // SAFETY: the caller's.
    unsafe {
        match size {
            0 => {}
            1 => tile::<F, S, 1>(source, blocks, call, start, sums),
            2 => tile::<F, S, 2>(source, blocks, call, start, sums),
            3 => tile::<F, S, 3>(source, blocks, call, start, sums),
            _ => tile::<F, S, TILE>(source, blocks, call, start, sums),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<F: Group16, S: Source, const M: usize>(
    source: &S,
    blocks: std::ops::Range<usize>,
    call: &StripCall<'_>,
    start: usize,
    total: &mut [[__m256; 2]],
) {
    const RECORD: usize = prepare::GROUP16_RECORD;
    let Some(total) = total.first_chunk_mut::<M>() else { return };
    // SAFETY: the caller's source holds the blocks, and each row a record for each group.
    unsafe {
        let mut records = record_pointers::<M>(call, start, call.k / GROUP * RECORD);
        for record in &mut records {
            *record = record.add(blocks.start * GROUPS * RECORD);
        }
        for b in 0..blocks.len() {
            let mut part = [[_mm256_setzero_ps(); 2]; M];
            let mut below = [[_mm256_setzero_ps(); 2]; M];
            for g in 0..GROUPS {
                if M < 4 {
                    source.request(b, g);
                }
                let sums = products::<F, S, M>(source, (b, g), &records);
                for m in 0..M {
                    let d = _mm256_set1_ps(float(records[m].add(32)));
                    for half in 0..2 {
                        let sum = _mm256_cvtepi32_ps(sums[m][half]);
                        part[m][half] = _mm256_fmadd_ps(sum, d, part[m][half]);
                    }
                }
                if F::MINIMA {
                    let minima = source.minima(b, g);
                    for m in 0..M {
                        let d = _mm256_set1_ps(float(records[m].add(32)));
                        for half in 0..2 {
                            let of = |sub: usize| {
                                let x = broadcast(records[m].add(36 + 4 * sub));
                                _mm256_madd_epi16(minima[half][sub], x)
                            };
                            let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(of(0), of(1)));
                            below[m][half] = _mm256_fmadd_ps(sum, d, below[m][half]);
                        }
                    }
                }
                for record in &mut records {
                    *record = record.add(RECORD);
                }
            }
            for half in 0..2 {
                let [d, dmin] = source.factors(b, half);
                for m in 0..M {
                    let sum = _mm256_fmadd_ps(part[m][half], d, total[m][half]);
                    total[m][half] =
                        if F::MINIMA { _mm256_fnmadd_ps(below[m][half], dmin, sum) } else { sum };
                }
            }
        }
    }
}

/// The sums of `code * activation * scale` of one group.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<F: Group16, S: Source, const M: usize>(
    source: &S,
    (b, g): (usize, usize),
    records: &[*const u8; M],
) -> [[__m256i; 2]; M] {
    let mut sums = [[_mm256_setzero_si256(); 2]; M];
    // SAFETY: the caller's.
    unsafe {
        let scale = source.scales(b, g);
        for sub in 0..2 {
            let mut lanes = [[_mm256_setzero_si256(); 2]; M];
            if F::CENTRE != 0 {
                for m in 0..M {
                    lanes[m] = [broadcast(records[m].add(36 + 4 * sub)); 2];
                }
            }
            for v in 4 * sub..4 * sub + 4 {
                let w = [source.codes(b, g, 0, v), source.codes(b, g, 1, v)];
                for m in 0..M {
                    let x = broadcast(records[m].add(4 * v));
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(w[half], x);
                        lanes[m][half] = pinned(_mm256_add_epi16(lanes[m][half], products));
                    }
                }
            }
            for m in 0..M {
                for half in 0..2 {
                    let products = _mm256_madd_epi16(lanes[m][half], scale[half][sub]);
                    sums[m][half] = _mm256_add_epi32(sums[m][half], products);
                }
            }
        }
    }
    sums
}
