//! Approximate functions: correctly rounded here, or off by up to what the PTX ISA documents.

use super::NAN_F32;
use crate::registers::{LaneFn, lane_fn};

/// Largest documented error of an approximate instruction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Accuracy {
    /// In units of the last place of a binary32 result.
    Ulps(u32),
    /// Relative to a binary32 result.
    Relative(f32),
    /// Absolute, of a binary32 result.
    Absolute(f32),
    /// Relative, of a binary64 result.
    RelativeDouble(f64),
}

impl Accuracy {
    /// A result moved inside its error by a pseudo-random amount.
    pub(crate) fn perturb(self, bits: u64, noise: u64) -> u64 {
        // A signed fraction strictly inside (-1, 1).
        let fraction = (noise >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        let value = f32::from_bits(bits as u32);
        let moved = |by: f64| u64::from(((f64::from(value) + by) as f32).to_bits());
        if let Self::RelativeDouble(error) = self {
            let value = f64::from_bits(bits);
            let moved = if value.is_finite() { value * (1.0 + fraction * error) } else { value };
            return moved.to_bits();
        }
        if !value.is_normal() {
            return bits;
        }
        match self {
            Self::Ulps(ulps) => {
                let ulp = f64::from(value.next_up()) - f64::from(value);
                let steps = (fraction * f64::from(ulps)).round();
                moved(steps * ulp)
            }
            Self::Relative(error) => moved(f64::from(value) * fraction * f64::from(error)),
            Self::Absolute(error) => moved(fraction * f64::from(error)),
            Self::RelativeDouble(_) => bits,
        }
    }
}

#[inline]
fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

#[inline]
fn bits(value: f32) -> u32 {
    if value.is_nan() { NAN_F32 } else { value.to_bits() }
}

macro_rules! unary {
    ($flush:expr, |$x:ident| $value:expr) => {
        if $flush {
            lane_fn!(
                u32 = |x: f32| {
                    let $x = f64::from(flush(x));
                    bits(flush(($value) as f32))
                }
            )
        } else {
            lane_fn!(
                u32 = |x: f32| {
                    let $x = f64::from(x);
                    bits(($value) as f32)
                }
            )
        }
    };
}

/// The approximate function of binary32 that an opcode names, with its error
/// (PTX ISA, the tables of "Floating-Point Instructions").
pub(crate) fn function(name: &str, ftz: bool) -> Option<(LaneFn, Accuracy)> {
    Some(match name {
        "rcp" => (unary!(ftz, |x| 1.0 / x), Accuracy::Ulps(1)),
        "sqrt" => (unary!(ftz, |x| x.sqrt()), Accuracy::Ulps(1)),
        "rsqrt" => (unary!(ftz, |x| 1.0 / x.sqrt()), Accuracy::Relative(1.28e-7)),
        "ex2" => (unary!(ftz, |x| x.exp2()), Accuracy::Ulps(2)),
        "lg2" => (unary!(ftz, |x| x.log2()), Accuracy::Absolute(2.4e-7)),
        "sin" => (unary!(ftz, |x| x.sin()), Accuracy::Absolute(6.7e-7)),
        "cos" => (unary!(ftz, |x| x.cos()), Accuracy::Absolute(6.7e-7)),
        "tanh" => (unary!(ftz, |x| x.tanh()), Accuracy::Relative(4.9e-4)),
        _ => return None,
    })
}

/// `div.approx` and `div.full` of binary32: at most two units in the last place.
pub(crate) fn divide(ftz: bool) -> (LaneFn, Accuracy) {
    let run = if ftz {
        lane_fn!(u32 = |a: f32, b: f32| bits(flush(flush(a) / flush(b))))
    } else {
        lane_fn!(u32 = |a: f32, b: f32| bits(a / b))
    };
    (run, Accuracy::Ulps(2))
}

/// `rcp.approx.ftz.f64` and `rsqrt.approx.ftz.f64`: the low 32 bits of the result are zero.
pub(crate) fn double(name: &str) -> Option<(LaneFn, Accuracy)> {
    const HIGH: u64 = !0 << 32;
    Some(match name {
        "rcp" => (
            lane_fn!(u64 = |x: f64| high_half(1.0 / normal(x)) & HIGH),
            // One unit of the last kept bit.
            Accuracy::RelativeDouble(0.0),
        ),
        "rsqrt" => (
            lane_fn!(u64 = |x: f64| high_half(1.0 / normal(x).sqrt()) & HIGH),
            Accuracy::RelativeDouble(0.0),
        ),
        _ => return None,
    })
}

fn high_half(value: f64) -> u64 {
    normal(value).to_bits()
}

fn normal(value: f64) -> f64 {
    if value.is_subnormal() { 0f64.copysign(value) } else { value }
}
