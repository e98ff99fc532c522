//! Quantised weights times f32 activations: a piece of the strip is widened into the first-level
//! cache and multiplied with all rows of the call before the next one.

use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi32_ps,
    _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_srai_epi32, _mm256_srl_epi32, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::{
    LANES, ROWS, StripCall, checked,
    dense::{F32, Sums, TILE, accumulate, total, value_pointers},
    group16::{BLOCK_K, Group16},
    group32::Group32,
    grouped, int4,
    int16::{Signed, widened},
    load, load_f16, prefetch, prefetch_bytes, store,
};
use crate::{
    matmul::{MAX_ROWS, tiles},
    weight::GROUP,
};

/// Groups of a piece: 8 KiB of f32.
const PIECE: usize = 4;

/// The widened values of a piece, `[k][row of the strip]`.
#[repr(align(32))]
struct Piece([[f32; ROWS]; PIECE * GROUP]);

/// Widens one group of a strip to `[GROUP][ROWS]`.
type Widen = unsafe fn(strip: *const u8, group: usize, out: &mut [[f32; ROWS]]);

/// Weights of signed bytes.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn signed<F: Signed>(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, call.k / GROUP / F::GROUPS * F::BLOCK, 0, out);
    multiply(call, widen_signed::<F>, out);
}

/// `U4` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn u4(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, call.k / GROUP * int4::block_bytes(false), 0, out);
    multiply(call, widen_u4::<false>, out);
}

/// `U4Min` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn u4_min(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, call.k / GROUP * int4::block_bytes(true), 0, out);
    multiply(call, widen_u4::<true>, out);
}

/// Weights with one scale per 32.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn group32<F: Group32>(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, call.k / GROUP / F::GROUPS * F::BLOCK, 0, out);
    multiply(call, widen_group32::<F>, out);
}

/// Weights with one scale per 16.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn group16<F: Group16>(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, call.k / BLOCK_K * F::BLOCK, 0, out);
    multiply(call, widen_group16::<F>, out);
}

/// `Grouped` weights of integers.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn grouped(call: &StripCall<'_>, out: &mut [f32]) {
    let blocks = grouped::Blocks::of(call, 0, out);
    let sections = blocks.sections();
    multiply_with(
        call,
        // SAFETY: the strip's size is checked, so it holds this section.
        |strip, group, out| unsafe {
            let block = blocks.block(strip, group / sections);
            grouped::widen_integers(blocks, block, group % sections, out);
        },
        out,
    );
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply(call: &StripCall<'_>, widen: Widen, out: &mut [f32]) {
    // SAFETY: the strip's size is checked, so it holds this group.
    multiply_with(call, |strip, group, out| unsafe { widen(strip, group, out) }, out);
}

/// Multiplies with what `widen` makes of each group of 32 k of the call's strip.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply_with(
    call: &StripCall<'_>,
    widen: impl Fn(*const u8, usize, &mut [[f32; ROWS]]),
    out: &mut [f32],
) {
    let mut piece = Piece([[0.0; ROWS]; PIECE * GROUP]);
    let mut sums: [Sums; MAX_ROWS] = [[[_mm256_setzero_ps(); 2]; 2]; MAX_ROWS];
    let groups = call.k / GROUP;
    for first in (0..groups).step_by(PIECE) {
        let count = PIECE.min(groups - first);
        for (g, out) in piece.0.chunks_exact_mut(GROUP).take(count).enumerate() {
            widen(call.strip.as_ptr(), first + g, out);
        }
        let (weights, len) = (piece.0.as_ptr().cast(), count * GROUP);
        tiles(call.rows.len(), TILE, |start, size| {
            // SAFETY: sizes are checked; `start + size` is at most the number of rows.
            unsafe {
                let k0 = first * GROUP;
                match size {
                    1 => tile::<1>(call, (start, k0), weights, len, &mut sums),
                    2 => tile::<2>(call, (start, k0), weights, len, &mut sums),
                    _ => tile::<TILE>(call, (start, k0), weights, len, &mut sums),
                }
            }
        });
    }
    for (row, sums) in sums.iter().take(call.rows.len()).enumerate() {
        store(&[total(*sums)], row, out);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const M: usize>(
    call: &StripCall<'_>,
    (start, k0): (usize, usize),
    weights: *const u8,
    len: usize,
    sums: &mut [Sums],
) {
    let Some(sums) = sums[start..].first_chunk_mut::<M>() else { return };
    // SAFETY: the rows exist, and the piece holds `len` values of each of the strip's rows.
    unsafe {
        let x = value_pointers::<M>(call, start, k0);
        accumulate::<F32, M, false>(weights, len, &x, sums);
    }
}

/// Writes byte `b` of each cell, shifted and masked to a code, as eight rows of one k.
#[target_feature(enable = "avx2,fma,f16c")]
fn put(out: &mut [f32; ROWS], half: usize, values: __m256) {
    // SAFETY: a row has room for two vectors.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(half * LANES), values) };
}

/// The codes in the low bits of each cell after a shift.
#[target_feature(enable = "avx2,fma,f16c")]
fn field(cells: __m256i, shift: usize, mask: i32) -> __m256i {
    let shifted = _mm256_srl_epi32(cells, _mm_cvtsi32_si128(shift as i32));
    _mm256_and_si256(shifted, _mm256_set1_epi32(mask))
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen_signed<F: Signed>(strip: *const u8, group: usize, out: &mut [[f32; ROWS]]) {
    // SAFETY: the caller's strip holds the group.
    unsafe {
        let bytes = F::BLOCK / F::GROUPS;
        prefetch_bytes(strip.add(group * bytes), bytes);
        let (block, group) = (strip.add(group / F::GROUPS * F::BLOCK), group % F::GROUPS);
        for half in 0..2 {
            let scale = F::scale(block, group, half);
            for (v, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let [first, second] = widened(F::bytes(block, group, half, v));
                let codes = [
                    _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(first)),
                    _mm256_srai_epi32::<16>(first),
                    _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(second)),
                    _mm256_srai_epi32::<16>(second),
                ];
                for (out, codes) in out.iter_mut().zip(codes) {
                    put(out, half, _mm256_mul_ps(_mm256_cvtepi32_ps(codes), scale));
                }
            }
        }
    }
}

/// `(code - zero) * scale` of 32 k of signed bytes of one half of the rows.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen_bytes(
    codes: *const u8,
    half: usize,
    (scale, zero): (__m256, __m256),
    out: &mut [[f32; ROWS]],
) {
    for (v, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // SAFETY: the caller's section holds eight vectors.
        let cells = unsafe { load(codes.add(4 * LANES * v)) };
        let codes = [
            _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(cells)),
            _mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(cells)),
            _mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(cells)),
            _mm256_srai_epi32::<24>(cells),
        ];
        for (out, codes) in out.iter_mut().zip(codes) {
            let value = _mm256_sub_ps(_mm256_cvtepi32_ps(codes), zero);
            put(out, half, _mm256_mul_ps(value, scale));
        }
    }
}

/// `(code - zero) * scale` of 32 k of unsigned nibbles of one half of the rows.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen_nibbles(
    codes: *const u8,
    half: usize,
    (scale, zero): (__m256, __m256),
    out: &mut [[f32; ROWS]],
) {
    for (v, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        // SAFETY: the caller's section holds four vectors.
        let cells = unsafe { load(codes.add(4 * LANES * v)) };
        for (k, out) in out.iter_mut().enumerate() {
            let codes = field(cells, 8 * (k % 4) + 4 * (k / 4), 15);
            let value = _mm256_sub_ps(_mm256_cvtepi32_ps(codes), zero);
            put(out, half, _mm256_mul_ps(value, scale));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen_u4<const MIN: bool>(strip: *const u8, group: usize, out: &mut [[f32; ROWS]]) {
    // SAFETY: the caller's strip holds the group.
    unsafe {
        let block = strip.add(group * int4::block_bytes(MIN));
        prefetch::<320>(block);
        for half in 0..2 {
            let scale = load_f16(block.add(half * 2 * LANES));
            let min = load_f16(block.add(2 * ROWS + half * 2 * LANES));
            for (v, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let cells = load(int4::codes(block, MIN, half, v));
                for (k, out) in out.iter_mut().enumerate() {
                    let codes = field(cells, 8 * (k % 4) + 4 * (k / 4), 15);
                    let codes = _mm256_cvtepi32_ps(codes);
                    let values = if MIN {
                        _mm256_add_ps(_mm256_mul_ps(codes, scale), min)
                    } else {
                        _mm256_mul_ps(_mm256_sub_ps(codes, _mm256_set1_ps(8.0)), scale)
                    };
                    put(out, half, values);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen_group32<F: Group32>(strip: *const u8, group: usize, out: &mut [[f32; ROWS]]) {
    // SAFETY: the caller's strip holds the group.
    unsafe {
        let bytes = F::BLOCK / F::GROUPS;
        prefetch_bytes(strip.add(group * bytes), bytes);
        let (block, group) = (strip.add(group / F::GROUPS * F::BLOCK), group % F::GROUPS);
        let centre = _mm256_set1_ps(f32::from(F::CENTRE));
        let parameters = F::parameters(block, &F::factors(block), group);
        for (half, [scale, middle]) in parameters.into_iter().enumerate() {
            let scale = _mm256_mul_ps(scale, _mm256_set1_ps(F::UNIT));
            for (v, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let cells = F::codes(block, group, half, v);
                for (k, out) in out.iter_mut().enumerate() {
                    let code = _mm256_sub_ps(_mm256_cvtepi32_ps(field(cells, 8 * k, 255)), centre);
                    put(out, half, _mm256_add_ps(_mm256_mul_ps(code, scale), middle));
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen_group16<F: Group16>(strip: *const u8, group: usize, out: &mut [[f32; ROWS]]) {
    const GROUPS: usize = BLOCK_K / GROUP;
    // A scale stands twice in a cell.
    let wide = |scales: __m256i| _mm256_cvtepi32_ps(_mm256_srai_epi32::<16>(scales));
    // SAFETY: the caller's strip holds the group.
    unsafe {
        let bytes = F::BLOCK / GROUPS;
        prefetch_bytes(strip.add(group * bytes), bytes);
        let (block, group) = (strip.add(group / GROUPS * F::BLOCK), group % GROUPS);
        let centre = _mm256_set1_ps(f32::from(F::CENTRE));
        for half in 0..2 {
            let [d, dmin] = F::factors(block, half);
            let (scales, minima) = (F::scales(block, group)[half], F::minima(block, group)[half]);
            for (v, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let scale = _mm256_mul_ps(d, wide(scales[v / 4]));
                let min = _mm256_mul_ps(dmin, wide(minima[v / 4]));
                let cells = F::codes(block, group, half, v);
                for (k, out) in out.iter_mut().enumerate() {
                    let code = _mm256_sub_ps(_mm256_cvtepi32_ps(field(cells, 8 * k, 255)), centre);
                    put(out, half, _mm256_sub_ps(_mm256_mul_ps(scale, code), min));
                }
            }
        }
    }
}
