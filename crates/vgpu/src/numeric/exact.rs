//! Binary64 operations with the direction of their error, from which any other rounding follows.
//!
//! "Rounded to odd" means: if inexact, of the two neighbours the one with an odd fraction. Rounding
//! such a value again to a format with at least two bits less gives the correctly rounded result
//! (S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums", 2008).

use super::format::Rounding;

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
            _ => self.value < 0.0,
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
    Rounded { value, error: a.mul_add(b, -value) }
}

/// a * b + c (error by S. Boldo and J.-M. Muller, "Exact and approximated error of the FMA", 2011).
pub(crate) fn multiply_add(a: f64, b: f64, c: f64) -> Rounded {
    let value = a.mul_add(b, c);
    if value.is_infinite() && a.is_finite() && b.is_finite() && c.is_finite() {
        return Rounded { value, error: -value };
    }
    let product = multiply(a, b);
    let low = add(c, product.error);
    let high = add(product.value, low.value);
    let middle = (high.value - value) + high.error;
    Rounded { value, error: middle + low.error }
}

/// a / b.
pub(crate) fn divide(a: f64, b: f64) -> Rounded {
    let value = a / b;
    if !value.is_finite() || !b.is_finite() || value == 0.0 {
        let overflow = value.is_infinite() && a.is_finite() && b != 0.0;
        return Rounded { value, error: if overflow { -value } else { 0.0 } };
    }
    let rest = (-value).mul_add(b, a);
    Rounded { value, error: if b > 0.0 { rest } else { -rest } }
}

/// The square root of a.
pub(crate) fn square_root(a: f64) -> Rounded {
    let value = a.sqrt();
    if !value.is_finite() || value == 0.0 {
        return Rounded { value, error: 0.0 };
    }
    Rounded { value, error: (-value).mul_add(value, a) }
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
