//! `Mxfp4` weights, for [`group32`](super::group32).

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_blendv_ps, _mm256_broadcastsi128_si256,
    _mm256_castsi256_ps, _mm256_cmpgt_epi32, _mm256_set1_epi32, _mm256_setzero_ps,
    _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_sllv_epi32, _mm256_sub_epi32,
};

use super::{
    LANES, ROWS,
    codes::{bytes, nibbles},
    group32::Group32,
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

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(block: *const u8, _: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's, and a table is one vector of 128 bits.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(UNSIGNED.as_ptr().cast()));
            _mm256_shuffle_epi8(table, nibbles(block.add(ROWS), half, v))
        }
    }

    /// 2^(exponent - 128), of which the two smallest are below the least normal number.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn parameters(block: *const u8, _: usize, half: usize) -> [__m256; 2] {
        // SAFETY: the caller's.
        let exponent = unsafe { bytes(block.add(LANES * half)) };
        let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(exponent, _mm256_set1_epi32(1)));
        let tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), exponent);
        let is_tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), exponent);
        let [normal, tiny, is_tiny] = [normal, tiny, is_tiny].map(|v| _mm256_castsi256_ps(v));
        [_mm256_blendv_ps(normal, tiny, is_tiny), _mm256_setzero_ps()]
    }
}
