//! Formats with one f16 scale, and perhaps one f16 minimum, per 32 values: `U4`, `U4Min`, `U5`,
//! `U5Min`, `I8` and `Iq4Nl`.

use std::{arch::x86_64::__m512i, marker::PhantomData};

use super::{
    ROWS,
    codes::Codes,
    integer::{Format, Parameters},
    row_f16,
};
use crate::{matmul::StripCall, weight::GROUP};

/// Groups that begin with the scales of all rows, then their minima if there are any.
#[derive(Clone, Copy)]
pub(super) struct Plain<C, const MIN: bool> {
    strip: *const u8,
    codes: PhantomData<C>,
}

impl<C: Codes, const MIN: bool> Plain<C, MIN> {
    const HEAD: usize = ROWS * if MIN { 4 } else { 2 };
    const BYTES: usize = Self::HEAD + ROWS * C::BYTES;
}

impl<C: Codes, const MIN: bool> Format for Plain<C, MIN> {
    const CENTRE: i32 = if MIN { 0 } else { C::CENTRE };
    const MIDDLE: bool = MIN;
    const SWAPPED: bool = C::SWAPPED;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let strip = Self { strip: call.strip.as_ptr(), codes: PhantomData };
        (strip, call.k / GROUP * Self::BYTES)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { C::vector(self.strip.add(group * Self::BYTES + Self::HEAD), half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe {
            let head = self.strip.add(group * Self::BYTES);
            if MIN {
                Parameters::with_middle(row_f16(head), row_f16(head.add(2 * ROWS)))
            } else {
                Parameters::scale(row_f16(head))
            }
        }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        (self.strip.wrapping_add(group * Self::BYTES), Self::BYTES)
    }
}
