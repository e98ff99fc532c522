//! `U4` and `U4Min` weights times 8-bit activations.
//!
//! The eight products of a 16-bit lane in a group of 32 are at most 2 * 15 * 127 each, so they are
//! added in 16 bits and widened once a group.

use std::arch::x86_64::{
    _mm256_add_epi16, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_fmsub_ps,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_srli_epi16,
};

use super::{
    LANES, ROWS, StripCall, broadcast, by_tile, checked, float, load, load_f16, pinned, prefetch,
    prepare::I8_RECORD, record_pointers, store,
};
use crate::weight::GROUP;

/// Rows of activations per tile: ten registers of sums leave room for codes, operand and product.
const TILE: usize = 5;

/// Bytes of a group of 32 in a strip, with or without minima.
pub(super) const fn block_bytes(min: bool) -> usize {
    ROWS * (GROUP / 2 + if min { 4 } else { 2 })
}

/// Address of vector `v` of codes of one half of a group.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn codes(block: *const u8, min: bool, half: usize, v: usize) -> *const u8 {
    let parameters = if min { 4 * ROWS } else { 2 * ROWS };
    // SAFETY: within the caller's group.
    unsafe { block.add(parameters + half * LANES * GROUP / 2 + 4 * LANES * v) }
}

/// `U4` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn u4(call: &StripCall<'_>, out: &mut [f32]) {
    let groups = call.k / GROUP;
    checked(call, groups * block_bytes(false), groups * I8_RECORD, out);
    by_tile!(TILE, call, plain_tile, groups, out);
}

/// `U4Min` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn u4_min(call: &StripCall<'_>, out: &mut [f32]) {
    let groups = call.k / GROUP;
    checked(call, groups * block_bytes(true), groups * I8_RECORD, out);
    by_tile!(TILE, call, min_tile, groups, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn plain_tile<const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    groups: usize,
    out: &mut [f32],
) {
    // SAFETY: the caller's.
    unsafe { tile::<false, M>(call, start, groups, out) };
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn min_tile<const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    groups: usize,
    out: &mut [f32],
) {
    // SAFETY: the caller's.
    unsafe { tile::<true, M>(call, start, groups, out) };
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const MIN: bool, const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    groups: usize,
    out: &mut [f32],
) {
    let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
    let mut acc = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the strip holds `groups` groups and each row as many records.
    unsafe {
        let mut records = record_pointers::<M>(call, start, groups * I8_RECORD);
        for g in 0..groups {
            let block = call.strip.as_ptr().add(g * block_bytes(MIN));
            if M < 4 {
                prefetch::<320>(block);
            }
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            for v in 0..GROUP / 8 {
                for nibble in 0..2 {
                    let mut w = [load(codes(block, MIN, 0, v)), load(codes(block, MIN, 1, v))];
                    for w in &mut w {
                        let cells = if nibble == 0 { *w } else { _mm256_srli_epi16::<4>(*w) };
                        *w = _mm256_and_si256(cells, low);
                    }
                    for m in 0..M {
                        let x = broadcast(records[m].add(8 * v + 4 * nibble));
                        for half in 0..2 {
                            let products = _mm256_maddubs_epi16(w[half], x);
                            sums[m][half] = pinned(_mm256_add_epi16(sums[m][half], products));
                        }
                    }
                }
            }
            let scale = [load_f16(block), load_f16(block.add(2 * LANES))];
            for m in 0..M {
                let d = _mm256_set1_ps(float(records[m].add(32)));
                let offset = _mm256_set1_ps(float(records[m].add(36)));
                for half in 0..2 {
                    let sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums[m][half], ones));
                    acc[m][half] = if MIN {
                        let min = load_f16(block.add(2 * ROWS + 2 * LANES * half));
                        let acc = _mm256_fmadd_ps(min, offset, acc[m][half]);
                        _mm256_fmadd_ps(_mm256_mul_ps(sum, d), scale[half], acc)
                    } else {
                        _mm256_fmadd_ps(_mm256_fmsub_ps(sum, d, offset), scale[half], acc[m][half])
                    };
                }
                records[m] = records[m].add(I8_RECORD);
            }
        }
    }
    store(&acc, start, out);
}
