//! `Mxfp4` weights, for [`group32`](super::group32).

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_broadcastsi128_si256, _mm256_castsi256_ps, _mm256_max_epi32,
    _mm256_set1_epi32, _mm256_setzero_ps, _mm256_shuffle_epi8, _mm256_slli_epi32,
};

use super::{
    ROWS,
    codes::{nibbles, sixteen, wide_cells},
    group32::{Group32, Halves},
};
use crate::weight::mxfp4::DOUBLED;

pub(super) const CENTRE: i8 = 12;

/// Doubled values, made unsigned by the centre.
pub(super) static UNSIGNED: [u8; 16] = {
    let mut table = [0; 16];
    let mut code = 0;
    while code < 16 {
        table[code] = (DOUBLED[code] + CENTRE) as u8;
        code += 1;
    }
    table
};

pub(super) struct Mxfp4;

impl Group32 for Mxfp4 {
    const CENTRE: i16 = CENTRE as i16;
    const SYMMETRIC: bool = true;
    const GROUPS: usize = 1;
    const BLOCK: usize = 17 * ROWS;
    /// Codes are twice their values.
    const UNIT: f32 = 0.5;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(block: *const u8, _: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's, and a table is one vector of 128 bits.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(UNSIGNED.as_ptr().cast()));
            _mm256_shuffle_epi8(table, nibbles(block.add(ROWS), half, v))
        }
    }

    /// 2^(exponent - 127): the bits of a float, but for the least of them, which is not normal.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn parameters(block: *const u8, _: &Halves, _: usize) -> Halves {
        let (least, zero) = (_mm256_set1_epi32(0x0040_0000), _mm256_setzero_ps());
        // SAFETY: the caller's.
        let [low, high] = wide_cells(unsafe { sixteen(block) });
        let low = _mm256_max_epi32(_mm256_slli_epi32::<23>(low), least);
        let high = _mm256_max_epi32(_mm256_slli_epi32::<23>(high), least);
        [[_mm256_castsi256_ps(low), zero], [_mm256_castsi256_ps(high), zero]]
    }
}
