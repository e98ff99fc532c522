//! `Q4K` and `Q5K` weights, and `U5` and `U5Min`, for [`group32`](super::group32).

use std::arch::x86_64::{
    __m256, __m256i, _mm256_fmadd_ps, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_xor_ps,
};

use super::{
    LANES, ROWS,
    codes::{bits, nibbles, six_bits, sixteen, widened},
    group32::{Group32, Halves},
    load_f16,
};

/// Middle of the 5-bit codes: sixteen products with centred ones fit 16 bits.
const FIVE_BIT_CENTRE: i16 = 16;

/// `Q4K`, or with `HIGH` bits `Q5K`.
pub(super) struct QK<const HIGH: bool>;

impl<const HIGH: bool> QK<HIGH> {
    const GROUP: usize = ROWS * if HIGH { 20 } else { 16 };

    /// Scale and middle.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn scaled([d, minus_dmin]: [__m256; 2], scale: __m256, min: __m256) -> [__m256; 2] {
        let (scale, middle) = (_mm256_mul_ps(d, scale), _mm256_mul_ps(minus_dmin, min));
        if HIGH {
            let centre = _mm256_set1_ps(f32::from(FIVE_BIT_CENTRE));
            [scale, _mm256_fmadd_ps(centre, scale, middle)]
        } else {
            [scale, middle]
        }
    }
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
    unsafe fn factors(block: *const u8) -> Halves {
        let minus = _mm256_set1_ps(-0.0);
        // SAFETY: the caller's.
        unsafe {
            let d = [load_f16(block), load_f16(block.add(2 * LANES))];
            let dmin = [load_f16(block.add(2 * ROWS)), load_f16(block.add(2 * ROWS + 2 * LANES))];
            [[d[0], _mm256_xor_ps(dmin[0], minus)], [d[1], _mm256_xor_ps(dmin[1], minus)]]
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn parameters(block: *const u8, factors: &Halves, group: usize) -> Halves {
        // SAFETY: the caller's.
        let (low, high) = unsafe {
            (sixteen(block.add((4 + group) * ROWS)), sixteen(block.add((12 + group / 2) * ROWS)))
        };
        let [scales, minima] = six_bits(low, high, 4 * (group % 2));
        let (scales, minima) = (widened(scales), widened(minima));
        [
            Self::scaled(factors[0], scales[0], minima[0]),
            Self::scaled(factors[1], scales[1], minima[1]),
        ]
    }
}

/// `U5`, or with `MIN` `U5Min`.
pub(super) struct U5<const MIN: bool>;

impl<const MIN: bool> U5<MIN> {
    const PARAMETERS: usize = ROWS * if MIN { 4 } else { 2 };

    /// Scale and middle of eight rows, whose scales are at this address.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn half(scales: *const u8) -> [__m256; 2] {
        // SAFETY: the caller's.
        unsafe {
            let scale = load_f16(scales);
            if !MIN {
                return [scale, _mm256_setzero_ps()];
            }
            let centre = _mm256_set1_ps(f32::from(FIVE_BIT_CENTRE));
            [scale, _mm256_fmadd_ps(centre, scale, load_f16(scales.add(2 * ROWS)))]
        }
    }
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
    unsafe fn parameters(block: *const u8, _: &Halves, _: usize) -> Halves {
        // SAFETY: the caller's.
        unsafe { [Self::half(block), Self::half(block.add(2 * LANES))] }
    }
}
