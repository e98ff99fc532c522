//! `Grouped` weights of `E4m3` times f32 activations.
//!
//! Codes become halves by shifts, and singles by the conversion instruction. With few rows they are
//! multiplied from registers; with more, a piece is widened once for all, as in the exact mode. Both
//! perform the same operations in the same order.

use std::arch::x86_64::{
    __m128i, __m256, _mm_and_si128, _mm_set1_epi16, _mm_setzero_si128, _mm_srai_epi16,
    _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm256_and_si256, _mm256_broadcast_ss,
    _mm256_castsi256_si128, _mm256_cvtph_ps, _mm256_extracti128_si256, _mm256_fmadd_ps,
    _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_srai_epi16, _mm256_storeu_ps, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

use super::{
    LANES, ROWS, StripCall,
    dense::{Sums, TILE, total, value_pointers},
    exact,
    grouped::Blocks,
    load, prefetch, store,
};
use crate::{matmul::tiles, weight::GROUP};

/// E4M3 fields read as a half are 2^8 too small: the biases are 7 and 15.
const FROM_HALF: f32 = 256.0;

/// Sixteen E4M3 codes as halves, times 2^-8. A shift to the right by one moves the exponent under
/// the sign's copy, which the mask takes out.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn halves(codes: __m128i) -> [__m128i; 2] {
    let (zero, mask) = (_mm_setzero_si128(), _mm_set1_epi16(0xBF80_u16 as i16));
    let (low, high) = (_mm_unpacklo_epi8(zero, codes), _mm_unpackhi_epi8(zero, codes));
    [_mm_and_si128(_mm_srai_epi16::<1>(low), mask), _mm_and_si128(_mm_srai_epi16::<1>(high), mask)]
}

/// Scales of both halves of the rows, for codes that were read as halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scales(blocks: Blocks, block: *const u8) -> [__m256; 2] {
    // SAFETY: the caller's strip holds the block.
    let [low, high] = unsafe { blocks.scales(block) };
    let factor = _mm256_set1_ps(FROM_HALF);
    [_mm256_mul_ps(low, factor), _mm256_mul_ps(high, factor)]
}

/// Values of codes `2 * pair` and `2 * pair + 1`, each for both halves of the rows, before scales.
/// Requests what comes later, once for each cache line.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn values(codes: *const u8, pair: usize) -> [[__m256; 2]; 2] {
    let codes = codes.wrapping_add(2 * ROWS * pair);
    if pair.is_multiple_of(2) {
        prefetch::<64>(codes);
    }
    // SAFETY: the caller's block holds both k.
    let codes = unsafe { load(codes) };
    let (zero, mask) = (_mm256_setzero_si256(), _mm256_set1_epi16(0xBF80_u16 as i16));
    let (low, high) = (_mm256_unpacklo_epi8(zero, codes), _mm256_unpackhi_epi8(zero, codes));
    let low = _mm256_and_si256(_mm256_srai_epi16::<1>(low), mask);
    let high = _mm256_and_si256(_mm256_srai_epi16::<1>(high), mask);
    [
        [
            _mm256_cvtph_ps(_mm256_castsi256_si128(low)),
            _mm256_cvtph_ps(_mm256_castsi256_si128(high)),
        ],
        [
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(low)),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(high)),
        ],
    ]
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply(call: &StripCall<'_>, out: &mut [f32]) {
    let blocks = Blocks::of(call, 0, out);
    if call.rows.len() > TILE {
        exact::multiply_with(
            call,
            // SAFETY: the strip's size is checked, so it holds this group.
            |strip, group, out| unsafe { widen(blocks, strip, group, out) },
            out,
        );
        return;
    }
    tiles(call.rows.len(), TILE, |start, size| {
        // SAFETY: sizes are checked; `start + size` is at most the number of rows.
        unsafe {
            match size {
                1 => tile::<1>(call, start, blocks, out),
                2 => tile::<2>(call, start, blocks, out),
                _ => tile::<TILE>(call, start, blocks, out),
            }
        }
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    blocks: Blocks,
    out: &mut [f32],
) {
    let mut sums: [Sums; M] = [[[_mm256_setzero_ps(); 2]; 2]; M];
    let len = blocks.format.group.size();
    // SAFETY: the rows exist and the strip holds all blocks.
    unsafe {
        let x = value_pointers::<M>(call, start, 0);
        for b in 0..blocks.count {
            let block = blocks.block(call.strip.as_ptr(), b);
            let (scale, codes) = (scales(blocks, block), blocks.codes(block, 0));
            for pair in 0..len / 2 {
                let w = values(codes, pair);
                for parity in 0..2 {
                    let w = [
                        _mm256_mul_ps(w[parity][0], scale[0]),
                        _mm256_mul_ps(w[parity][1], scale[1]),
                    ];
                    for m in 0..M {
                        let x = _mm256_broadcast_ss(&*x[m].add(b * len + 2 * pair + parity));
                        sums[m][parity][0] = _mm256_fmadd_ps(w[0], x, sums[m][parity][0]);
                        sums[m][parity][1] = _mm256_fmadd_ps(w[1], x, sums[m][parity][1]);
                    }
                }
            }
        }
    }
    for (m, &sums) in sums.iter().enumerate() {
        store(&[total(sums)], start + m, out);
    }
}

/// Widens 32 k of a strip to `[GROUP][ROWS]`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen(blocks: Blocks, strip: *const u8, group: usize, out: &mut [[f32; ROWS]]) {
    let sections = blocks.sections();
    // SAFETY: the caller's strip holds the group, and a row of `out` has room for two vectors.
    unsafe {
        let block = blocks.block(strip, group / sections);
        let (scale, codes) = (scales(blocks, block), blocks.codes(block, 0));
        for (pair, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let w = values(codes, group % sections * GROUP / 2 + pair);
            for (w, out) in w.iter().zip(out) {
                for half in 0..2 {
                    let value = _mm256_mul_ps(w[half], scale[half]);
                    _mm256_storeu_ps(out.as_mut_ptr().add(half * LANES), value);
                }
            }
        }
    }
}
