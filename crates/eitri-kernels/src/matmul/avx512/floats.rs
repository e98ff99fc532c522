//! 4-bit floats: `Mxfp4` and `Nvfp4`, as integers of twice their value.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_castsi512_ps, _mm512_loadu_ps, _mm512_max_epi32, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32,
};

use super::{
    LANES, ROWS,
    codes::{Codes, E2m1, wide},
    e4m3,
    integer::{Format, Parameters},
    load_half,
};
use crate::{matmul::StripCall, weight::GROUP};

/// `Mxfp4`.
#[derive(Clone, Copy)]
pub(super) struct Mxfp4(*const u8);

impl Mxfp4 {
    const BYTES: usize = 17 * ROWS;
}

impl Format for Mxfp4 {
    const CENTRE: i32 = E2m1::CENTRE;
    const MIDDLE: bool = false;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        (Self(call.strip.as_ptr()), call.k / GROUP * Self::BYTES)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { E2m1::vector(self.0.add(group * Self::BYTES + ROWS), half, v) }
    }

    /// 2^(exponent - 127) is the bits of a float, but for the least of them, which is not normal.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        let least = _mm512_set1_epi32(0x0040_0000);
        // SAFETY: the caller's.
        let mut scale = wide(unsafe { load_half(self.0.add(group * Self::BYTES)) });
        for scale in &mut scale {
            *scale = _mm512_max_epi32(_mm512_slli_epi32::<23>(*scale), least);
        }
        let scale = [_mm512_castsi512_ps(scale[0]), _mm512_castsi512_ps(scale[1])];
        Parameters::scale(scaled(scale, _mm512_set1_ps(0.5)))
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        (self.0.wrapping_add(group * Self::BYTES), Self::BYTES)
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn scaled(values: [__m512; 2], factor: __m512) -> [__m512; 2] {
    [_mm512_mul_ps(values[0], factor), _mm512_mul_ps(values[1], factor)]
}

/// `Nvfp4`.
#[derive(Clone, Copy)]
pub(super) struct Nvfp4 {
    strip: *const u8,
}

impl Nvfp4 {
    /// Bytes of the rows' scales at the beginning of a strip.
    const HEADER: usize = 4 * ROWS;
    const BYTES: usize = 18 * ROWS;
}

impl Format for Nvfp4 {
    const CENTRE: i32 = E2m1::CENTRE;
    const MIDDLE: bool = false;
    const SCALES: usize = 2;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let strip = Self { strip: call.strip.as_ptr() };
        (strip, Self::HEADER + call.k / GROUP * Self::BYTES)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            E2m1::vector(self.strip.add(Self::HEADER + group * Self::BYTES + 2 * ROWS), half, v)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // What E4M3 fields read as a half lack, over the two by which codes are too large.
        let factor = _mm512_set1_ps(e4m3::FROM_HALF / 2.0);
        let mut scales = [[_mm512_set1_ps(0.0); 2]; 2];
        // SAFETY: the caller's.
        unsafe {
            let group = self.strip.add(Self::HEADER + group * Self::BYTES);
            for s in 0..2 {
                let values = e4m3::halves(load_half(group.add(s * ROWS)));
                for half in 0..2 {
                    let whole = _mm512_loadu_ps(self.strip.add(4 * LANES * half).cast());
                    scales[s][half] = _mm512_mul_ps(values[half], _mm512_mul_ps(whole, factor));
                }
            }
        }
        Parameters::scales(scales)
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        (self.strip.wrapping_add(Self::HEADER + group * Self::BYTES), Self::BYTES)
    }
}
