//! Integer sums, products, quotients (PTX ISA, "Integer Arithmetic Instructions").
//!
//! Values of 16 bits are kept zero-extended in 32.

use super::signed16;
use crate::ptx::types::Type::{self, B32, B64, S16, S16x2, S32, S64, U16, U16x2, U32, U64};
use crate::registers::{LaneFn, lane_fn};

/// Both halves of two words through a function of 16-bit values.
#[inline]
fn halves(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff) & 0xffff | f(a >> 16, b >> 16) << 16
}

pub(super) fn sum(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("add", U32 | S32 | B32) => lane_fn!(u32 = |a: u32, b: u32| a.wrapping_add(b)),
        ("add", U64 | S64 | B64) => lane_fn!(u64 = |a: u64, b: u64| a.wrapping_add(b)),
        ("add", U16 | S16) => lane_fn!(u32 = |a: u32, b: u32| a.wrapping_add(b) & 0xffff),
        ("add", U16x2 | S16x2) => lane_fn!(u32 = |a: u32, b: u32| halves(a, b, u32::wrapping_add)),
        ("sub", U32 | S32 | B32) => lane_fn!(u32 = |a: u32, b: u32| a.wrapping_sub(b)),
        ("sub", U64 | S64 | B64) => lane_fn!(u64 = |a: u64, b: u64| a.wrapping_sub(b)),
        ("sub", U16 | S16) => lane_fn!(u32 = |a: u32, b: u32| a.wrapping_sub(b) & 0xffff),
        _ => return None,
    })
}

pub(super) fn saturating(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("add", S32) => lane_fn!(i32 = |a: i32, b: i32| a.saturating_add(b)),
        ("sub", S32) => lane_fn!(i32 = |a: i32, b: i32| a.saturating_sub(b)),
        _ => return None,
    })
}

pub(super) fn low(kind: Type, fma: bool) -> Option<LaneFn> {
    Some(match (kind, fma) {
        (U32 | S32, false) => lane_fn!(u32 = |a: u32, b: u32| a.wrapping_mul(b)),
        (U64 | S64, false) => lane_fn!(u64 = |a: u64, b: u64| a.wrapping_mul(b)),
        (U16 | S16, false) => lane_fn!(u32 = |a: u32, b: u32| a.wrapping_mul(b) & 0xffff),
        (U32 | S32, true) => {
            lane_fn!(u32 = |a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c))
        }
        (U64 | S64, true) => {
            lane_fn!(u64 = |a: u64, b: u64, c: u64| a.wrapping_mul(b).wrapping_add(c))
        }
        (U16 | S16, true) => {
            lane_fn!(u32 = |a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c) & 0xffff)
        }
        _ => return None,
    })
}

fn high_u32(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

fn high_s32(a: i32, b: i32) -> u32 {
    ((i64::from(a) * i64::from(b)) >> 32) as u32
}

pub(crate) fn high_u64(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

pub(crate) fn high_s64(a: i64, b: i64) -> u64 {
    ((i128::from(a) * i128::from(b)) >> 64) as u64
}

pub(super) fn high(kind: Type, fma: bool) -> Option<LaneFn> {
    Some(match (kind, fma) {
        (U32, false) => lane_fn!(u32 = |a: u32, b: u32| high_u32(a, b)),
        (S32, false) => lane_fn!(u32 = |a: i32, b: i32| high_s32(a, b)),
        (U64, false) => lane_fn!(u64 = |a: u64, b: u64| high_u64(a, b)),
        (S64, false) => lane_fn!(u64 = |a: i64, b: i64| high_s64(a, b)),
        (U16, false) => lane_fn!(u32 = |a: u32, b: u32| ((a & 0xffff) * (b & 0xffff)) >> 16),
        (S16, false) => {
            lane_fn!(u32 = |a: u32, b: u32| ((signed16(a) * signed16(b)) >> 16) as u32 & 0xffff)
        }
        (U32, true) => lane_fn!(u32 = |a: u32, b: u32, c: u32| high_u32(a, b).wrapping_add(c)),
        (S32, true) => lane_fn!(u32 = |a: i32, b: i32, c: u32| high_s32(a, b).wrapping_add(c)),
        (U64, true) => lane_fn!(u64 = |a: u64, b: u64, c: u64| high_u64(a, b).wrapping_add(c)),
        (S64, true) => lane_fn!(u64 = |a: i64, b: i64, c: u64| high_s64(a, b).wrapping_add(c)),
        (U16, true) => {
            lane_fn!(
                u32 = |a: u32, b: u32, c: u32| ((((a & 0xffff) * (b & 0xffff)) >> 16) + c) & 0xffff
            )
        }
        (S16, true) => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| {
                (((signed16(a) * signed16(b)) >> 16) as u32).wrapping_add(c) & 0xffff
            }
        ),
        _ => return None,
    })
}

pub(super) fn wide(kind: Type, fma: bool) -> Option<LaneFn> {
    Some(match (kind, fma) {
        (U32, false) => lane_fn!(u64 = |a: u32, b: u32| u64::from(a) * u64::from(b)),
        (S32, false) => lane_fn!(u64 = |a: i32, b: i32| (i64::from(a) * i64::from(b)) as u64),
        (U16, false) => lane_fn!(u32 = |a: u32, b: u32| (a & 0xffff) * (b & 0xffff)),
        (S16, false) => lane_fn!(u32 = |a: u32, b: u32| (signed16(a) * signed16(b)) as u32),
        (U32, true) => lane_fn!(
            u64 = |a: u32, b: u32, c: u64| { (u64::from(a) * u64::from(b)).wrapping_add(c) }
        ),
        (S32, true) => lane_fn!(
            u64 =
                |a: i32, b: i32, c: u64| { ((i64::from(a) * i64::from(b)) as u64).wrapping_add(c) }
        ),
        (U16, true) => {
            lane_fn!(u32 = |a: u32, b: u32, c: u32| ((a & 0xffff) * (b & 0xffff)).wrapping_add(c))
        }
        (S16, true) => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| { ((signed16(a) * signed16(b)) as u32).wrapping_add(c) }
        ),
        _ => return None,
    })
}

/// The quotient, rounded down; all ones if the divisor is 0. In binary64, of which processors divide
/// several at once: a quotient below 2^32 lies at least 1 / b below the next whole number, far more
/// than its rounding moves it.
#[inline]
fn divided(a: u32, b: u32) -> u32 {
    // What is added moves the whole number into the low bits of the significand.
    let quotient = ((f64::from(a) / f64::from(b)).floor() + 2_f64.powi(52)).to_bits() as u32;
    if b == 0 { u32::MAX } else { quotient }
}

/// Division by zero yields all ones and its remainder the dividend, as the hardware's routine
/// does; the ISA leaves both open.
pub(super) fn quotient(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("div", U32) => lane_fn!(u32 = |a: u32, b: u32| divided(a, b)),
        ("div", U64) => lane_fn!(u64 = |a: u64, b: u64| a.checked_div(b).unwrap_or(u64::MAX)),
        ("div", U16) => lane_fn!(u32 = |a: u32, b: u32| a.checked_div(b).unwrap_or(0xffff)),
        ("div", S32) => {
            lane_fn!(i32 = |a: i32, b: i32| if b == 0 { -1 } else { a.wrapping_div(b) })
        }
        ("div", S64) => {
            lane_fn!(i64 = |a: i64, b: i64| if b == 0 { -1 } else { a.wrapping_div(b) })
        }
        ("div", S16) => lane_fn!(
            u32 = |a: u32, b: u32| {
                let (a, b) = (signed16(a), signed16(b));
                (if b == 0 { -1 } else { a / b }) as u32 & 0xffff
            }
        ),
        ("rem", U32) => {
            lane_fn!(u32 = |a: u32, b: u32| a.wrapping_sub(divided(a, b).wrapping_mul(b)))
        }
        ("rem", U64) => lane_fn!(u64 = |a: u64, b: u64| a.checked_rem(b).unwrap_or(a)),
        ("rem", U16) => lane_fn!(u32 = |a: u32, b: u32| a.checked_rem(b).unwrap_or(a)),
        ("rem", S32) => lane_fn!(i32 = |a: i32, b: i32| if b == 0 { a } else { a.wrapping_rem(b) }),
        ("rem", S64) => lane_fn!(i64 = |a: i64, b: i64| if b == 0 { a } else { a.wrapping_rem(b) }),
        ("rem", S16) => lane_fn!(
            u32 = |a: u32, b: u32| {
                let (a, b) = (signed16(a), signed16(b));
                (if b == 0 { a } else { a % b }) as u32 & 0xffff
            }
        ),
        _ => return None,
    })
}

pub(super) fn unary(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("neg", S32) => lane_fn!(u32 = |a: u32| a.wrapping_neg()),
        ("neg", S64) => lane_fn!(u64 = |a: u64| a.wrapping_neg()),
        ("neg", S16) => lane_fn!(u32 = |a: u32| a.wrapping_neg() & 0xffff),
        ("abs", S32) => lane_fn!(i32 = |a: i32| a.wrapping_abs()),
        ("abs", S64) => lane_fn!(i64 = |a: i64| a.wrapping_abs()),
        ("abs", S16) => lane_fn!(u32 = |a: u32| signed16(a).unsigned_abs()),
        _ => return None,
    })
}

pub(super) fn extremum(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("min", U32 | U16) => lane_fn!(u32 = |a: u32, b: u32| a.min(b)),
        ("min", S32) => lane_fn!(i32 = |a: i32, b: i32| a.min(b)),
        ("min", U64) => lane_fn!(u64 = |a: u64, b: u64| a.min(b)),
        ("min", S64) => lane_fn!(i64 = |a: i64, b: i64| a.min(b)),
        ("min", S16) => {
            lane_fn!(u32 = |a: u32, b: u32| signed16(a).min(signed16(b)) as u32 & 0xffff)
        }
        ("min", U16x2) => lane_fn!(u32 = |a: u32, b: u32| halves(a, b, u32::min)),
        ("min", S16x2) => lane_fn!(
            u32 = |a: u32, b: u32| { halves(a, b, |a, b| signed16(a).min(signed16(b)) as u32) }
        ),
        ("max", U32 | U16) => lane_fn!(u32 = |a: u32, b: u32| a.max(b)),
        ("max", S32) => lane_fn!(i32 = |a: i32, b: i32| a.max(b)),
        ("max", U64) => lane_fn!(u64 = |a: u64, b: u64| a.max(b)),
        ("max", S64) => lane_fn!(i64 = |a: i64, b: i64| a.max(b)),
        ("max", S16) => {
            lane_fn!(u32 = |a: u32, b: u32| signed16(a).max(signed16(b)) as u32 & 0xffff)
        }
        ("max", U16x2) => lane_fn!(u32 = |a: u32, b: u32| halves(a, b, u32::max)),
        ("max", S16x2) => lane_fn!(
            u32 = |a: u32, b: u32| { halves(a, b, |a, b| signed16(a).max(signed16(b)) as u32) }
        ),
        _ => return None,
    })
}

/// `.relu`: negative results become zero.
pub(super) fn clamped(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("min", S32) => lane_fn!(i32 = |a: i32, b: i32| a.min(b).max(0)),
        ("max", S32) => lane_fn!(i32 = |a: i32, b: i32| a.max(b).max(0)),
        _ => return None,
    })
}

#[inline]
fn signed24(value: u32) -> i64 {
    i64::from((value << 8) as i32 >> 8)
}

#[inline]
fn product24(a: u32, b: u32, high: bool) -> u32 {
    let product = u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff);
    (if high { product >> 16 } else { product }) as u32
}

/// `mul24`, `mad24` and `sad`.
pub(super) fn small_product(name: &str, kind: Type, high: bool) -> Option<LaneFn> {
    Some(match (name, kind, high) {
        ("mul24", U32, false) => lane_fn!(u32 = |a: u32, b: u32| product24(a, b, false)),
        ("mul24", U32, true) => lane_fn!(u32 = |a: u32, b: u32| product24(a, b, true)),
        ("mul24", S32, false) => {
            lane_fn!(u32 = |a: u32, b: u32| (signed24(a) * signed24(b)) as u32)
        }
        ("mul24", S32, true) => {
            lane_fn!(u32 = |a: u32, b: u32| ((signed24(a) * signed24(b)) >> 16) as u32)
        }
        ("mad24", U32, false) => {
            lane_fn!(u32 = |a: u32, b: u32, c: u32| product24(a, b, false).wrapping_add(c))
        }
        ("mad24", S32, false) => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| { ((signed24(a) * signed24(b)) as u32).wrapping_add(c) }
        ),
        ("sad", U32, _) => lane_fn!(u32 = |a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c)),
        ("sad", S32, _) => lane_fn!(u32 = |a: i32, b: i32, c: u32| a.abs_diff(b).wrapping_add(c)),
        _ => return None,
    })
}
