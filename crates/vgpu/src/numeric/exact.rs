//! Binary64 operations with the direction of their error, from which any other rounding follows.
//!
//! "Rounded to odd" means: if inexact, of the two neighbours the one with an odd fraction. Rounding
//! such a value again to a format with at least two bits less gives the correctly rounded result
//! (S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums", 2008).

use super::format::{Rounding, power_of_two};

/// Below this, the error of an operation may be too small for binary64 itself.
const SMALL: f64 = power_of_two(-900);

/// Significand in 1..2 with its sign, and exponent of a finite value other than zero.
fn split(value: f64) -> (f64, i32) {
    let (value, moved) =
        if value.is_subnormal() { (value * power_of_two(64), 64) } else { (value, 0) };
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    (scaled(value, -exponent), exponent - moved)
}

/// A value times a power of two, in steps that do not overflow.
fn scaled(value: f64, power: i32) -> f64 {
    let third = power / 3;
    value * power_of_two(third) * power_of_two(third) * power_of_two(power - 2 * third)
}

/// A correctly rounded value and the sign of what rounding left out.
#[derive(Clone, Copy)]
pub(crate) struct Rounded {
    value: f64,
    /// Exact result minus `value`: only its sign counts.
    error: f64,
}

impl Rounded {
    /// Rounded to odd instead of to nearest.
    pub(crate) fn odd(self) -> f64 {
        let bits = self.value.to_bits();
        let inexact = self.error != 0.0 && !self.error.is_nan() && self.value.is_finite();
        if !inexact || bits & 1 == 1 {
            return self.value;
        }
        if self.grows() { f64::from_bits(bits + 1) } else { f64::from_bits(bits.wrapping_sub(1)) }
    }

    /// An exact zero becomes negative.
    pub(crate) fn with_negative_zero(self) -> Self {
        let exact_zero = self.value == 0.0 && self.error == 0.0;
        Self { value: if exact_zero { -0.0 } else { self.value }, ..self }
    }

    /// Whether the exact result is larger in magnitude.
    fn grows(self) -> bool {
        (self.error > 0.0) == (self.value > 0.0 || self.value.to_bits() == 0)
    }

    /// Rounded to binary64 in another direction.
    pub(crate) fn directed(self, rounding: Rounding) -> f64 {
        let nearest = matches!(rounding, Rounding::NearestEven | Rounding::NearestAway);
        if nearest || self.error == 0.0 || self.error.is_nan() {
            return self.value;
        }
        let up = match rounding {
            Rounding::Up => true,
            Rounding::Down => false,
            _ => self.value.is_sign_negative(),
        };
        match (up, self.error > 0.0) {
            (true, true) => self.value.next_up(),
            (false, false) => self.value.next_down(),
            _ => self.value,
        }
    }
}

/// a + b. The error is exact unless the sum overflows (D. Knuth, TAOCP 2, 4.2.2).
pub(crate) fn add(a: f64, b: f64) -> Rounded {
    let value = a + b;
    if value.is_infinite() && a.is_finite() && b.is_finite() {
        return Rounded { value, error: -value };
    }
    let back = value - a;
    Rounded { value, error: (a - (value - back)) + (b - back) }
}

/// a * b.
pub(crate) fn multiply(a: f64, b: f64) -> Rounded {
    let value = a * b;
    if value.is_infinite() && a.is_finite() && b.is_finite() {
        return Rounded { value, error: -value };
    }
    if value.abs() >= SMALL || !value.is_finite() || a == 0.0 || b == 0.0 {
        return Rounded { value, error: a.mul_add(b, -value) };
    }
    let ((a, first), (b, second)) = (split(a), split(b));
    let product = a * b;
    let low = a.mul_add(b, -product);
    Rounded { value, error: (product - scaled(value, -first - second)) + low }
}

/// a * b + c (error by S. Boldo and J.-M. Muller, "Exact and approximated error of the FMA", 2011).
pub(crate) fn multiply_add(a: f64, b: f64, c: f64) -> Rounded {
    let value = a.mul_add(b, c);
    if value.is_infinite() && a.is_finite() && b.is_finite() && c.is_finite() {
        return Rounded { value, error: -value };
    }
    let small = (a * b).abs() < SMALL || value.abs() < SMALL;
    if !small || a == 0.0 || b == 0.0 {
        return Rounded { value, error: error_of_sum(value, a, b, c) };
    }
    // The same with the larger term near one. Of the other, if it is far below every bit of the
    // larger one, only the sign counts.
    let ((a, first), (b, second)) = (split(a), split(b));
    let (product, exponent) = (first + second, if c == 0.0 { i32::MIN } else { split(c).1 });
    let top = product.max(exponent);
    let b = scaled(b, (product - top).max(-300));
    let c = if c == 0.0 { c } else { scaled(split(c).0, (exponent - top).max(-300)) };
    Rounded { value, error: error_of_sum(scaled(value, -top), a, b, c) }
}

/// a * b + c less its rounded value.
fn error_of_sum(value: f64, a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    let low = add(c, a.mul_add(b, -product));
    let high = add(product, low.value);
    let middle = (high.value - value) + high.error;
    middle + low.error
}

/// a / b.
pub(crate) fn divide(a: f64, b: f64) -> Rounded {
    let value = a / b;
    if !value.is_finite() || !b.is_finite() || a == 0.0 {
        let overflow = value.is_infinite() && a.is_finite() && b != 0.0;
        return Rounded { value, error: if overflow { -value } else { 0.0 } };
    }
    let ((a, first), (b, second)) = (split(a), split(b));
    let rest = (-scaled(value, second - first)).mul_add(b, a);
    Rounded { value, error: if b > 0.0 { rest } else { -rest } }
}

/// The square root of a.
pub(crate) fn square_root(a: f64) -> Rounded {
    let value = a.sqrt();
    if !value.is_finite() || value == 0.0 {
        return Rounded { value, error: 0.0 };
    }
    let (a, root) = if a < SMALL { (scaled(a, 600), scaled(value, 300)) } else { (a, value) };
    Rounded { value, error: (-root).mul_add(root, a) }
}

/// An integer of at most 64 bits and a sign.
pub(crate) fn integer(value: i128) -> Rounded {
    let rounded = value as f64;
    Rounded { value: rounded, error: (value - rounded as i128) as f64 }
}

/// A value known exactly.
pub(crate) fn known(value: f64) -> Rounded {
    Rounded { value, error: 0.0 }
}
