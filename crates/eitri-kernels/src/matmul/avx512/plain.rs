//! Formats with one f16 scale, and perhaps one f16 minimum, per 32 values.

use std::arch::x86_64::{__m512i, _mm512_set1_epi8, _mm512_xor_si512};

use super::{
    ROWS,
    codes::{bits, bytes, joined, named, nibbles},
    integer::{Format, Parameters},
    row_f16,
};
use crate::{
    matmul::StripCall,
    weight::{GROUP, iq4::STEPS},
};

/// Centre of signed bytes that are moved to be unsigned.
pub(super) const SIGNED: i32 = 128;

/// Signed bytes moved by [`SIGNED`].
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn unsigned(bytes: __m512i) -> __m512i {
    _mm512_xor_si512(bytes, _mm512_set1_epi8(i8::MIN))
}

/// The steps of IQ4, moved by [`SIGNED`].
pub(super) static UNSIGNED_STEPS: [u8; 16] = {
    let mut table = [0; 16];
    let mut code = 0;
    while code < 16 {
        table[code] = (STEPS[code] as i32 + SIGNED) as u8;
        code += 1;
    }
    table
};

/// A strip of groups of 32 that begin with the scales of all rows, and perhaps their minima.
#[inline]
fn strip(call: &StripCall<'_>, bytes: usize) -> (*const u8, usize) {
    (call.strip.as_ptr(), call.k / GROUP * bytes)
}

/// `U4`, or with `MIN` `U4Min`.
#[derive(Clone, Copy)]
pub(super) struct U4<const MIN: bool>(*const u8);

impl<const MIN: bool> U4<MIN> {
    const HEAD: usize = ROWS * if MIN { 4 } else { 2 };
    const BYTES: usize = Self::HEAD + ROWS * 16;
}

impl<const MIN: bool> Format for U4<MIN> {
    const CENTRE: i32 = if MIN { 0 } else { 8 };
    const MIDDLE: bool = MIN;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (strip, bytes) = strip(call, Self::BYTES);
        (Self(strip), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { nibbles(self.0.add(group * Self::BYTES + Self::HEAD), half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe { scale_and_minimum::<MIN>(self.0.add(group * Self::BYTES)) }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        (self.0.wrapping_add(group * Self::BYTES), Self::BYTES)
    }
}

/// The scales of all rows and their minima, if there are any.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn scale_and_minimum<const MIN: bool>(group: *const u8) -> Parameters {
    // SAFETY: the caller's group begins with them.
    unsafe {
        let scale = row_f16(group);
        if MIN {
            Parameters::with_middle(scale, row_f16(group.add(2 * ROWS)))
        } else {
            Parameters::scale(scale)
        }
    }
}

/// `U5`, or with `MIN` `U5Min`.
#[derive(Clone, Copy)]
pub(super) struct U5<const MIN: bool>(*const u8);

impl<const MIN: bool> U5<MIN> {
    const HEAD: usize = ROWS * if MIN { 4 } else { 2 };
    const BYTES: usize = Self::HEAD + ROWS * 20;
}

impl<const MIN: bool> Format for U5<MIN> {
    const CENTRE: i32 = if MIN { 0 } else { 16 };
    const MIDDLE: bool = MIN;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (strip, bytes) = strip(call, Self::BYTES);
        (Self(strip), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let sections = self.0.add(group * Self::BYTES + Self::HEAD);
            let high = bits::<4>(sections.add(16 * ROWS), half, v);
            joined(nibbles(sections, half, v), high)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe { scale_and_minimum::<MIN>(self.0.add(group * Self::BYTES)) }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        (self.0.wrapping_add(group * Self::BYTES), Self::BYTES)
    }
}

/// `I8`.
#[derive(Clone, Copy)]
pub(super) struct I8(*const u8);

impl I8 {
    const BYTES: usize = ROWS * (2 + GROUP);
}

impl Format for I8 {
    const CENTRE: i32 = SIGNED;
    const MIDDLE: bool = false;
    const SWAPPED: bool = true;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (strip, bytes) = strip(call, Self::BYTES);
        (Self(strip), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { unsigned(bytes(self.0.add(group * Self::BYTES + 2 * ROWS), half, v)) }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe { scale_and_minimum::<false>(self.0.add(group * Self::BYTES)) }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        (self.0.wrapping_add(group * Self::BYTES), Self::BYTES)
    }
}

/// `Iq4Nl`.
#[derive(Clone, Copy)]
pub(super) struct Iq4Nl(*const u8);

impl Iq4Nl {
    const BYTES: usize = ROWS * 18;
}

impl Format for Iq4Nl {
    const CENTRE: i32 = SIGNED;
    const MIDDLE: bool = false;
    const SWAPPED: bool = true;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (strip, bytes) = strip(call, Self::BYTES);
        (Self(strip), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        let codes = unsafe { nibbles(self.0.add(group * Self::BYTES + 2 * ROWS), half, v) };
        named(&UNSIGNED_STEPS, codes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe { scale_and_minimum::<false>(self.0.add(group * Self::BYTES)) }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        (self.0.wrapping_add(group * Self::BYTES), Self::BYTES)
    }
}
