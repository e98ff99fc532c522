//! Floating-point values as multiples of a power of two, and their rounding: exact at any size.

use num_bigint::BigInt;

use crate::harness::Ty::{self, Bf16, F16, F32, F64, Tf32};

/// A value of a floating-point format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Nan,
    /// With its sign.
    Infinity(bool),
    /// Sign, and the magnitude as a multiple of 2^-scale.
    Finite(bool, BigInt, u32),
}

use Value::{Finite, Infinity, Nan};

/// Bits of exponent and of fraction.
fn widths(ty: Ty) -> (u32, u32) {
    match ty {
        F16 => (5, 10),
        Bf16 => (8, 7),
        F32 => (8, 23),
        Tf32 => (8, 10),
        _ => (11, 52),
    }
}

fn bias(ty: Ty) -> i64 {
    (1 << (widths(ty).0 - 1)) - 1
}

/// Finite values are multiples of 2^-SCALE: binary64 has none smaller.
const SCALE: u32 = 1074;

/// The value of a code, from its three fields.
pub(crate) fn decode(ty: Ty, bits: u64) -> Value {
    let (exponent_bits, fraction_bits) = widths(ty);
    let fraction = bits & ((1 << fraction_bits) - 1);
    let exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
    let negative = bits >> (exponent_bits + fraction_bits) & 1 == 1;
    if exponent == (1 << exponent_bits) - 1 {
        return if fraction == 0 { Infinity(negative) } else { Nan };
    }
    let significand = if exponent == 0 { fraction } else { fraction | 1 << fraction_bits };
    let power = exponent.max(1) as i64 - bias(ty) - i64::from(fraction_bits);
    let shift = i64::from(SCALE) + power;
    Finite(negative, BigInt::from(significand) << shift as u64, SCALE)
}

/// The canonical NaN; nothing for binary64, whose payload is open.
pub(crate) fn nan(ty: Ty) -> Option<u64> {
    match ty {
        F64 | Tf32 => None,
        F32 => Some(0x7fff_ffff),
        _ => Some(0x7fff),
    }
}

fn infinity(ty: Ty) -> u64 {
    let (exponent_bits, fraction_bits) = widths(ty);
    ((1 << exponent_bits) - 1) << fraction_bits
}

fn sign(ty: Ty, negative: bool) -> u64 {
    u64::from(negative) << (ty.bits() - 1)
}

/// How results are rounded and what is done to them then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish {
    /// `n`, `z`, `m` or `p`, and `a` for nearest with ties away from zero.
    pub(crate) mode: char,
    pub(crate) flush: bool,
    pub(crate) saturate: bool,
    pub(crate) relu: bool,
    /// What is beyond the range becomes the largest finite value.
    pub(crate) finite: bool,
}

impl Finish {
    pub(crate) const NEAREST: Self =
        Self { mode: 'n', flush: false, saturate: false, relu: false, finite: false };
}

/// The code of a value; nothing where the ISA leaves it open.
pub(crate) fn encode(ty: Ty, value: &Value, finish: Finish) -> Option<u64> {
    let (negative, magnitude, scale) = match value {
        Nan if finish.saturate => return Some(0),
        Nan => return nan(ty),
        Infinity(negative) => {
            if *negative && (finish.relu || finish.saturate) {
                return Some(0);
            }
            let code = if finish.saturate {
                one(ty)
            } else if finish.finite {
                infinity(ty) - 1
            } else {
                infinity(ty)
            };
            return Some(sign(ty, *negative) | code);
        }
        Finite(negative, magnitude, scale) => (*negative, magnitude, i64::from(*scale)),
    };
    if negative && finish.relu && *magnitude == BigInt::ZERO {
        return None;
    }
    if negative && (finish.saturate || finish.relu) {
        return Some(0);
    }
    let code = round(ty, negative, magnitude, scale, finish)?;
    let code = if finish.finite { code.min(infinity(ty) - 1) } else { code };
    let code = if finish.saturate { code.min(one(ty)) } else { code };
    Some(sign(ty, negative) | code)
}

fn one(ty: Ty) -> u64 {
    (bias(ty) as u64) << widths(ty).1
}

/// The magnitude's code.
fn round(ty: Ty, negative: bool, magnitude: &BigInt, scale: i64, finish: Finish) -> Option<u64> {
    let (_, fraction_bits) = widths(ty);
    if *magnitude == BigInt::ZERO {
        return Some(0);
    }
    let smallest = 1 - bias(ty);
    let exponent = magnitude.bits() as i64 - 1 - scale;
    // Value of the last bit that is kept: coarser below the normal range.
    let unit = exponent.max(smallest) - i64::from(fraction_bits);
    let drop = unit + scale;
    let (mut kept, rest, half) = if drop <= 0 {
        (magnitude << (-drop) as u64, BigInt::ZERO, BigInt::from(1))
    } else {
        let kept: BigInt = magnitude >> drop as u64;
        let rest = magnitude - (&kept << drop as u64);
        (kept, rest, BigInt::from(1) << (drop - 1) as u64)
    };
    let odd = kept.bit(0);
    let away = match finish.mode {
        'n' => rest > half || rest == half && odd,
        'a' => rest >= half,
        'm' => rest > BigInt::ZERO && negative,
        'p' => rest > BigInt::ZERO && !negative,
        _ => false,
    };
    kept += u32::from(away);
    let kept = u64::try_from(kept).unwrap();
    let hidden = 1u64 << fraction_bits;
    let place = (exponent.max(smallest) - smallest) as u64;
    let code = (place << fraction_bits) + kept;
    if finish.flush && code < hidden {
        return Some(0);
    }
    if finish.flush && code == hidden && exponent < smallest {
        // Whether a value is small is asked before rounding or behind it: the ISA does not say.
        return None;
    }
    if code < infinity(ty) {
        return Some(code);
    }
    let to_infinity = match finish.mode {
        'n' | 'a' => true,
        'm' => negative,
        'p' => !negative,
        _ => false,
    };
    Some(if to_infinity { infinity(ty) } else { infinity(ty) - 1 })
}

/// A subnormal source becomes zero of its sign.
pub(crate) fn flushed(ty: Ty, value: Value) -> Value {
    let smallest = BigInt::from(1) << (i64::from(SCALE) + 1 - bias(ty)) as u64;
    match value {
        Finite(negative, magnitude, scale) if magnitude < smallest => {
            Finite(negative, BigInt::ZERO * magnitude, scale)
        }
        other => other,
    }
}

impl Value {
    pub(crate) fn is_negative(&self) -> bool {
        matches!(self, Infinity(true) | Finite(true, ..))
    }

    fn is_zero(&self) -> bool {
        matches!(self, Finite(_, magnitude, _) if *magnitude == BigInt::ZERO)
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Nan => Nan,
            Infinity(negative) => Infinity(!negative),
            Finite(negative, magnitude, scale) => Finite(!negative, magnitude, scale),
        }
    }

    pub(crate) fn magnitude(self) -> Self {
        if self.is_negative() { self.negated() } else { self }
    }

    /// The value with its sign as a multiple of 2^-scale.
    fn signed(&self, wanted: u32) -> BigInt {
        let Finite(negative, magnitude, scale) = self else { panic!("{self:?} is not finite") };
        let value = magnitude << u64::from(wanted - scale);
        if *negative { -value } else { value }
    }

    /// The exact sum; a zero of opposite signs is negative only when rounding down.
    pub(crate) fn plus(self, other: Self, mode: char) -> Self {
        match (&self, &other) {
            (Nan, _) | (_, Nan) => Nan,
            (Infinity(a), Infinity(b)) if a != b => Nan,
            (Infinity(_), _) => self,
            (_, Infinity(_)) => other,
            (Finite(_, _, a), Finite(_, _, b)) => {
                let scale = *a.max(b);
                let sum = self.signed(scale) + other.signed(scale);
                let same = self.is_negative() == other.is_negative();
                let negative = if sum == BigInt::ZERO {
                    if same { self.is_negative() } else { mode == 'm' }
                } else {
                    sum < BigInt::ZERO
                };
                Finite(negative, if sum < BigInt::ZERO { -sum } else { sum }, scale)
            }
        }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        let negative = self.is_negative() != other.is_negative();
        match (&self, &other) {
            (Nan, _) | (_, Nan) => Nan,
            (Infinity(_), finite) | (finite, Infinity(_)) if finite.is_zero() => Nan,
            (Infinity(_), _) | (_, Infinity(_)) => Infinity(negative),
            (Finite(_, a, first), Finite(_, b, second)) => Finite(negative, a * b, first + second),
        }
    }

    /// The quotient, its last bit set if it is not exact.
    pub(crate) fn over(self, other: Self) -> Self {
        const BITS: u32 = 2300;
        let negative = self.is_negative() != other.is_negative();
        match (&self, &other) {
            (Nan, _) | (_, Nan) | (Infinity(_), Infinity(_)) => Nan,
            (Infinity(_), _) => Infinity(negative),
            (_, Infinity(_)) => Finite(negative, BigInt::ZERO, 0),
            (a, b) if b.is_zero() => {
                if a.is_zero() {
                    Nan
                } else {
                    Infinity(negative)
                }
            }
            (Finite(_, a, first), Finite(_, b, second)) => {
                let shifted: BigInt = (a << u64::from(BITS)) << u64::from(*second);
                let divisor: BigInt = b << u64::from(*first);
                let quotient = &shifted / &divisor;
                let sticky = u32::from(&quotient * &divisor != shifted);
                Finite(negative, (quotient << 1u32) + sticky, BITS + 1)
            }
        }
    }

    /// The square root, its last bit set if it is not exact.
    pub(crate) fn root(self) -> Self {
        const BITS: u32 = 1200;
        match &self {
            Infinity(false) => self,
            value if value.is_zero() => self,
            Finite(false, magnitude, scale) => {
                // sqrt(m 2^-s) = sqrt(m 2^(2b - s)) 2^-b.
                let square: BigInt = magnitude << u64::from(2 * BITS - scale);
                let root = square.sqrt();
                let sticky = u32::from(&root * &root != square);
                Finite(false, (root << 1u32) + sticky, BITS + 1)
            }
            _ => Nan,
        }
    }

    /// Order of two finite values of any scale, or of infinities.
    pub(crate) fn order_exact(&self, other: &Self) -> std::cmp::Ordering {
        self.clone().plus(other.clone().negated(), 'n').sign()
    }

    fn sign(&self) -> std::cmp::Ordering {
        match self {
            value if value.is_zero() => std::cmp::Ordering::Equal,
            value if value.is_negative() => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        }
    }

    /// Order of numbers; nothing if one is none.
    pub(crate) fn order(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Nan, _) | (_, Nan) => None,
            (Infinity(a), Infinity(b)) if a == b => Some(std::cmp::Ordering::Equal),
            _ => Some(self.order_exact(other)),
        }
    }
}

/// An integer as a value of any format.
pub(crate) fn integer(value: i128) -> Value {
    Finite(value < 0, BigInt::from(value.unsigned_abs()), 0)
}

impl Value {
    /// The nearest integer in a direction: `n` to even, `z`, `m` or `p`. Zero keeps its sign.
    pub(crate) fn to_integral(&self, mode: char) -> Self {
        let Finite(negative, magnitude, scale) = self else { return self.clone() };
        let whole: BigInt = magnitude >> u64::from(*scale);
        let rest = magnitude - (&whole << u64::from(*scale));
        let half = BigInt::from(1) << u64::from(scale.max(&1) - 1);
        let odd = whole.bit(0);
        let away = match mode {
            'n' => *scale > 0 && (rest > half || rest == half && odd),
            'm' => rest > BigInt::ZERO && *negative,
            'p' => rest > BigInt::ZERO && !negative,
            _ => false,
        };
        Finite(*negative, whole + u32::from(away), 0)
    }

    /// An integral value, no farther from zero than any type reaches.
    pub(crate) fn as_integer(&self) -> Option<i128> {
        let limit = 1i128 << 100;
        let magnitude = match self {
            Nan => return None,
            Infinity(_) => limit,
            Finite(_, magnitude, scale) => {
                let whole: BigInt = magnitude >> u64::from(*scale);
                i128::try_from(whole).map_or(limit, |whole| whole.min(limit))
            }
        };
        Some(if self.is_negative() { -magnitude } else { magnitude })
    }
}
