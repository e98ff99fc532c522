//! `Iq4Nl` and `Iq4Xs` weights, for [`int16`](super::int16).

use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_cvtepi32_ps, _mm256_mul_ps, _mm256_or_si256,
    _mm256_set1_epi32, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srl_epi32, _mm256_sub_epi32,
};

use super::{
    LANES, ROWS,
    codes::{bytes, nibbles},
    int16::{Signed, TILE},
    load_f16,
};
use crate::weight::iq4::STEPS;

/// The steps that vector `v` of a section of codes names.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn steps(section: *const u8, half: usize, v: usize) -> __m256i {
    // SAFETY: within the caller's section, and a table is one vector of 128 bits.
    unsafe {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(STEPS.as_ptr().cast()));
        _mm256_shuffle_epi8(table, nibbles(section, half, v))
    }
}

pub(super) struct Iq4Nl;

impl Signed for Iq4Nl {
    const GROUPS: usize = 1;
    const BLOCK: usize = 18 * ROWS;
    const DIRECT_ROWS: usize = TILE;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bytes(block: *const u8, _: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { steps(block.add(2 * ROWS), half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scale(block: *const u8, _: usize, half: usize) -> __m256 {
        // SAFETY: the caller's.
        unsafe { load_f16(block.add(2 * LANES * half)) }
    }
}

pub(super) struct Iq4Xs;

impl Signed for Iq4Xs {
    const GROUPS: usize = 8;
    const BLOCK: usize = 136 * ROWS;
    const DIRECT_ROWS: usize = TILE;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bytes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { steps(block.add((8 + 16 * group) * ROWS), half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scale(block: *const u8, group: usize, half: usize) -> __m256 {
        // SAFETY: the caller's.
        let (low, high, d) = unsafe {
            let at = block.add(LANES * half);
            (
                bytes(at.add((2 + group / 2) * ROWS)),
                bytes(at.add((6 + group / 4) * ROWS)),
                load_f16(block.add(2 * LANES * half)),
            )
        };
        let low = _mm256_srl_epi32(low, _mm_cvtsi32_si128(4 * (group % 2) as i32));
        let high = _mm256_srl_epi32(high, _mm_cvtsi32_si128(2 * (group % 4) as i32));
        let scale = _mm256_or_si256(
            _mm256_and_si256(low, _mm256_set1_epi32(15)),
            _mm256_slli_epi32::<4>(_mm256_and_si256(high, _mm256_set1_epi32(3))),
        );
        let scale = _mm256_sub_epi32(scale, _mm256_set1_epi32(32));
        _mm256_mul_ps(d, _mm256_cvtepi32_ps(scale))
    }
}
