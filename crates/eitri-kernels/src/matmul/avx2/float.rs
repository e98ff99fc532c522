//! 8- and 4-bit floats times f32 activations: `Grouped` weights of `E4m3` and `E2m1`, and `Nvfp4`.
//!
//! Codes become halves by shifts or a table, and singles by the conversion instruction. With few
//! rows they are multiplied from registers; with more, a piece is widened once for all, as in the
//! exact mode. Both perform the same operations in the same order.

use std::arch::x86_64::{
    __m128i, __m256, _mm_and_si128, _mm_loadu_si128, _mm_set1_epi8, _mm_set1_epi16, _mm_setr_epi8,
    _mm_setzero_si128, _mm_shuffle_epi8, _mm_srai_epi16, _mm_srli_epi16, _mm_unpackhi_epi8,
    _mm_unpacklo_epi8, _mm256_and_si256, _mm256_broadcast_ss, _mm256_castsi256_si128,
    _mm256_cvtph_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps,
    _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_srai_epi16,
    _mm256_storeu_ps, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
};

use super::{
    LANES, ROWS, StripCall, checked,
    dense::{Sums, TILE, total, value_pointers},
    exact,
    grouped::Blocks,
    load, prefetch, store,
};
use crate::{
    matmul::tiles,
    weight::{GROUP, NVFP4_BLOCK},
};

const E4M3: u8 = 0;
const E2M1: u8 = 1;
const NVFP4: u8 = 2;

/// Stretches of k that share a scale.
#[derive(Clone, Copy)]
struct Runs {
    /// Of the grouped formats.
    blocks: Option<Blocks>,
    count: usize,
    /// Values of k in each.
    len: usize,
}

/// Scales of both halves of the rows, and where the codes begin.
type Run = ([__m256; 2], *const u8);

impl Runs {
    fn of<const KIND: u8>(call: &StripCall<'_>, out: &[f32]) -> Self {
        if KIND == NVFP4 {
            let count = call.k / NVFP4_BLOCK;
            checked(call, 4 * ROWS + count * NVFP4_BYTES, 0, out);
            return Self { blocks: None, count, len: NVFP4_BLOCK };
        }
        let blocks = Blocks::of(call, 0, out);
        Self { blocks: Some(blocks), count: blocks.count, len: blocks.format.group.size() }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run<const KIND: u8>(self, strip: *const u8, index: usize) -> Run {
        // SAFETY: the caller's strip holds the run.
        unsafe {
            let Some(blocks) = self.blocks else {
                let block = strip.add(4 * ROWS + index * NVFP4_BYTES);
                let halves = halves_of_e4m3(_mm_loadu_si128(block.cast()));
                let scale = |half: usize| {
                    let row = _mm256_loadu_ps(strip.add(4 * half * LANES).cast());
                    let value = _mm256_mul_ps(_mm256_cvtph_ps(halves[half]), from_half());
                    _mm256_mul_ps(value, row)
                };
                return ([scale(0), scale(1)], block.add(ROWS));
            };
            let block = blocks.block(strip, index);
            let mut scales = blocks.scales(block);
            if KIND == E4M3 {
                scales = scales.map(|scale| _mm256_mul_ps(scale, from_half()));
            }
            (scales, blocks.codes(block, 0))
        }
    }
}

/// Bytes of 16 k of `Nvfp4` in a strip.
const NVFP4_BYTES: usize = ROWS * (1 + NVFP4_BLOCK / 2);

/// E4M3 fields read as a half are 2^8 too small: the biases are 7 and 15.
#[target_feature(enable = "avx2,fma,f16c")]
fn from_half() -> __m256 {
    _mm256_set1_ps(256.0)
}

/// Sixteen E4M3 codes as halves, times 2^-8. A shift to the right by one moves the exponent under
/// the sign's copy, which the mask takes out.
#[target_feature(enable = "avx2,fma,f16c")]
fn halves_of_e4m3(codes: __m128i) -> [__m128i; 2] {
    let (zero, mask) = (_mm_setzero_si128(), _mm_set1_epi16(0xBF80_u16 as i16));
    [_mm_unpacklo_epi8(zero, codes), _mm_unpackhi_epi8(zero, codes)]
        .map(|upper| _mm_and_si128(_mm_srai_epi16::<1>(upper), mask))
}

/// Requests the codes that follow a pair in memory, once for each cache line.
#[target_feature(enable = "avx2,fma,f16c")]
fn request<const KIND: u8>(codes: *const u8, pair: usize) {
    let bytes = if KIND == E4M3 { 2 * ROWS } else { ROWS };
    if (bytes * pair).is_multiple_of(64) {
        prefetch::<64>(codes.wrapping_add(bytes * pair));
    }
}

/// Values of codes `2 * pair` and `2 * pair + 1`, each for both halves of the rows, before scales.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn values<const KIND: u8>(codes: *const u8, pair: usize) -> [[__m256; 2]; 2] {
    if KIND == E4M3 {
        // SAFETY: the caller's run holds both k.
        let codes = unsafe { load(codes.add(2 * ROWS * pair)) };
        let (zero, mask) = (_mm256_setzero_si256(), _mm256_set1_epi16(0xBF80_u16 as i16));
        let [a, b] = [_mm256_unpacklo_epi8(zero, codes), _mm256_unpackhi_epi8(zero, codes)]
            .map(|upper| _mm256_and_si256(_mm256_srai_epi16::<1>(upper), mask));
        return [
            [a, b].map(|halves| _mm256_cvtph_ps(_mm256_castsi256_si128(halves))),
            [a, b].map(|halves| _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves))),
        ];
    }
    // SAFETY: as above.
    let codes = unsafe { _mm_loadu_si128(codes.add(ROWS * pair).cast()) };
    // Upper bytes of the halves 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; lower ones are 0.
    let table = _mm_setr_epi8(
        0x00,
        0x38,
        0x3C,
        0x3E,
        0x40,
        0x42,
        0x44,
        0x46,
        0x80_u8 as i8,
        0xB8_u8 as i8,
        0xBC_u8 as i8,
        0xBE_u8 as i8,
        0xC0_u8 as i8,
        0xC2_u8 as i8,
        0xC4_u8 as i8,
        0xC6_u8 as i8,
    );
    let (zero, low) = (_mm_setzero_si128(), _mm_set1_epi8(15));
    [codes, _mm_srli_epi16::<4>(codes)].map(|nibbles| {
        let upper = _mm_shuffle_epi8(table, _mm_and_si128(nibbles, low));
        [_mm_unpacklo_epi8(zero, upper), _mm_unpackhi_epi8(zero, upper)]
            .map(|halves| _mm256_cvtph_ps(halves))
    })
}

/// `Grouped` weights of `E4m3`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn e4m3(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<E4M3>(call, out);
}

/// `Grouped` weights of `E2m1`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn e2m1(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<E2M1>(call, out);
}

/// `Nvfp4` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nvfp4(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<NVFP4>(call, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<const KIND: u8>(call: &StripCall<'_>, out: &mut [f32]) {
    let runs = Runs::of::<KIND>(call, out);
    if call.rows.len() > TILE {
        exact::multiply_with(
            call,
            // SAFETY: the strip's size is checked, so it holds this group.
            |strip, group, out| unsafe { widen::<KIND>(runs, strip, group, out) },
            out,
        );
        return;
    }
    tiles(call.rows.len(), TILE, |start, size| {
        // SAFETY: sizes are checked; `start + size` is at most the number of rows.
        unsafe {
            match size {
                1 => tile::<KIND, 1>(call, start, runs, out),
                2 => tile::<KIND, 2>(call, start, runs, out),
                _ => tile::<KIND, TILE>(call, start, runs, out),
            }
        }
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const KIND: u8, const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    runs: Runs,
    out: &mut [f32],
) {
    let mut sums: [Sums; M] = [[[_mm256_setzero_ps(); 2]; 2]; M];
    // SAFETY: the rows exist and the strip holds all runs.
    unsafe {
        let x = value_pointers::<M>(call, start, 0);
        for run in 0..runs.count {
            let (scale, codes) = runs.run::<KIND>(call.strip.as_ptr(), run);
            for pair in 0..runs.len / 2 {
                request::<KIND>(codes, pair);
                let w = values::<KIND>(codes, pair);
                for parity in 0..2 {
                    let w = [
                        _mm256_mul_ps(w[parity][0], scale[0]),
                        _mm256_mul_ps(w[parity][1], scale[1]),
                    ];
                    for m in 0..M {
                        let x = &*x[m].add(run * runs.len + 2 * pair + parity);
                        let x = _mm256_broadcast_ss(x);
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
unsafe fn widen<const KIND: u8>(
    runs: Runs,
    strip: *const u8,
    group: usize,
    out: &mut [[f32; ROWS]],
) {
    let step = runs.len.min(GROUP);
    for (part, out) in out.chunks_exact_mut(step).enumerate() {
        let k = group * GROUP + part * step;
        // SAFETY: the caller's strip holds the group, and a row of `out` has room for two vectors.
        unsafe {
            let (scale, codes) = runs.run::<KIND>(strip, k / runs.len);
            for (pair, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let pair = k % runs.len / 2 + pair;
                request::<KIND>(codes, pair);
                let w = values::<KIND>(codes, pair);
                for (w, out) in w.iter().zip(out) {
                    for half in 0..2 {
                        let value = _mm256_mul_ps(w[half], scale[half]);
                        _mm256_storeu_ps(out.as_mut_ptr().add(half * LANES), value);
                    }
                }
            }
        }
    }
}
