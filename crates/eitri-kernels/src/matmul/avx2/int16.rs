//! `I8` weights times 16-bit activations.
//!
//! Signed bytes times signed bytes need either a sign transfer and a widening addition for each
//! product, or 16-bit operands; both take two multiplications per 32 products, and the latter keeps
//! 15 bits of each activation.

use std::arch::x86_64::{
    _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srai_epi16,
};

use super::{
    LANES, ROWS, StripCall, broadcast, by_tile, checked, float, load, load_f16, pinned, prefetch,
    prepare::I16_RECORD, record_pointers, store,
};
use crate::weight::GROUP;

/// Rows of activations per tile: ten registers of sums leave room for codes, operand and product.
const TILE: usize = 5;
/// Bytes of a group of 32 in a strip.
pub(super) const BLOCK: usize = ROWS * (GROUP + 2);

/// `I8` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn i8(call: &StripCall<'_>, out: &mut [f32]) {
    let groups = call.k / GROUP;
    checked(call, groups * BLOCK, groups * I16_RECORD, out);
    by_tile!(TILE, call, tile, groups, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const M: usize>(call: &StripCall<'_>, start: usize, groups: usize, out: &mut [f32]) {
    let mut acc = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the strip holds `groups` groups and each row as many records.
    unsafe {
        let mut records = record_pointers::<M>(call, start, groups * I16_RECORD);
        for g in 0..groups {
            let block = call.strip.as_ptr().add(g * BLOCK);
            if M < 4 {
                prefetch::<BLOCK>(block);
            }
            let codes = block.add(2 * ROWS);
            // At most 32 * 128 * 32767 in a lane.
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            for v in 0..GROUP / 4 {
                for odd in 0..2 {
                    let mut w = [load(codes.add(32 * v)), load(codes.add(LANES * GROUP + 32 * v))];
                    for w in &mut w {
                        let cells = if odd == 0 { _mm256_slli_epi16::<8>(*w) } else { *w };
                        *w = _mm256_srai_epi16::<8>(cells);
                    }
                    for m in 0..M {
                        let x = broadcast(records[m].add(8 * v + 4 * odd));
                        for half in 0..2 {
                            let products = _mm256_madd_epi16(w[half], x);
                            sums[m][half] = pinned(_mm256_add_epi32(sums[m][half], products));
                        }
                    }
                }
            }
            let scale = [load_f16(block), load_f16(block.add(2 * LANES))];
            for m in 0..M {
                let d = _mm256_set1_ps(float(records[m].add(64)));
                for half in 0..2 {
                    let sum = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[m][half]), d);
                    acc[m][half] = _mm256_fmadd_ps(sum, scale[half], acc[m][half]);
                }
                records[m] = records[m].add(I16_RECORD);
            }
        }
    }
    store(&acc, start, out);
}
