//! `Q4K` and `Q5K` weights, and `U5` and `U5Min`, for [`group32`](super::group32).

use std::arch::x86_64::{
    __m256, __m256i, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_fmsub_ps, _mm256_mul_ps,
    _mm256_or_si256, _mm256_set1_ps, _mm256_setzero_ps, _mm256_sub_ps,
};

use super::{
    LANES, ROWS,
    codes::{bits, bytes, nibbles, six_bits},
    group32::Group32,
    load_f16,
};

/// Middle of the 5-bit codes: sixteen products with centred ones fit 16 bits.
const FIVE_BIT_CENTRE: i16 = 16;

/// `Q4K`, or with `HIGH` bits `Q5K`.
pub(super) struct QK<const HIGH: bool>;

impl<const HIGH: bool> QK<HIGH> {
    const GROUP: usize = ROWS * if HIGH { 20 } else { 16 };
}

impl<const HIGH: bool> Group32 for QK<HIGH> {
    const CENTRE: i16 = if HIGH { FIVE_BIT_CENTRE } else { 0 };
    const SYMMETRIC: bool = false;
    const GROUPS: usize = 8;
    const BLOCK: usize = 16 * ROWS + 8 * Self::GROUP;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let sections = block.add(16 * ROWS + group * Self::GROUP);
            let low = nibbles(sections, half, v);
            if !HIGH {
                return low;
            }
            _mm256_or_si256(low, bits::<4>(sections.add(16 * ROWS), half, v))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn parameters(block: *const u8, group: usize, half: usize) -> [__m256; 2] {
        // SAFETY: the caller's.
        let (low, high, d, dmin) = unsafe {
            let at = half * LANES;
            (
                bytes(block.add((4 + group) * ROWS + at)),
                bytes(block.add((12 + group / 2) * ROWS + at)),
                load_f16(block.add(2 * at)),
                load_f16(block.add(2 * ROWS + 2 * at)),
            )
        };
        let [scale, min] = six_bits(low, high, 4 * (group % 2)).map(|n| _mm256_cvtepi32_ps(n));
        let (scale, min) = (_mm256_mul_ps(d, scale), _mm256_mul_ps(dmin, min));
        if HIGH {
            let centre = _mm256_set1_ps(f32::from(FIVE_BIT_CENTRE));
            [scale, _mm256_fmsub_ps(centre, scale, min)]
        } else {
            [scale, _mm256_sub_ps(_mm256_setzero_ps(), min)]
        }
    }
}

/// `U5`, or with `MIN` `U5Min`.
pub(super) struct U5<const MIN: bool>;

impl<const MIN: bool> U5<MIN> {
    const PARAMETERS: usize = ROWS * if MIN { 4 } else { 2 };
}

impl<const MIN: bool> Group32 for U5<MIN> {
    const CENTRE: i16 = FIVE_BIT_CENTRE;
    const SYMMETRIC: bool = !MIN;
    const GROUPS: usize = 1;
    const BLOCK: usize = Self::PARAMETERS + 20 * ROWS;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(block: *const u8, _: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let sections = block.add(Self::PARAMETERS);
            let high = bits::<4>(sections.add(16 * ROWS), half, v);
            _mm256_or_si256(nibbles(sections, half, v), high)
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn parameters(block: *const u8, _: usize, half: usize) -> [__m256; 2] {
        // SAFETY: the caller's.
        unsafe {
            let scale = load_f16(block.add(2 * LANES * half));
            if !MIN {
                return [scale, _mm256_setzero_ps()];
            }
            let min = load_f16(block.add(2 * ROWS + 2 * LANES * half));
            let centre = _mm256_set1_ps(f32::from(FIVE_BIT_CENTRE));
            [scale, _mm256_fmadd_ps(centre, scale, min)]
        }
    }
}
