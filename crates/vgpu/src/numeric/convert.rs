//! `cvt`: conversions between number formats (PTX ISA, "Data Movement and Conversion: cvt").

use super::{Format, NAN_F64, Rounding, exact, format, format_of};
use crate::ptx::types::Type;

/// Rounding of a floating-point value to an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntegerRounding {
    NearestEven,
    Zero,
    Down,
    Up,
}

impl IntegerRounding {
    fn apply(self, value: f64) -> f64 {
        match self {
            Self::NearestEven => value.round_ties_even(),
            Self::Zero => value.trunc(),
            Self::Down => value.floor(),
            Self::Up => value.ceil(),
        }
    }
}

/// A conversion with its modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conversion {
    pub(crate) to: Type,
    pub(crate) from: Type,
    pub(crate) rounding: Rounding,
    pub(crate) integer: Option<IntegerRounding>,
    /// `.sat`: floats to 0..=1, integers to the range of the destination.
    pub(crate) saturate: bool,
    /// `.satfinite`: no infinities or, in formats without one, NaN.
    pub(crate) finite: bool,
    pub(crate) flush: bool,
    pub(crate) relu: bool,
    /// Two sources, of which the first becomes the upper half.
    pub(crate) pair: bool,
    /// Width of the destination register in bytes, to which integers are extended.
    pub(crate) register_bytes: u32,
}

/// Format of the elements of a packed or small type.
fn element_format(kind: Type) -> Option<(Format, u32)> {
    Some(match kind {
        Type::F16x2 => (format::F16, 16),
        Type::Bf16x2 => (format::BF16, 16),
        Type::E4m3x2 => (format::E4M3, 8),
        Type::E5m2x2 => (format::E5M2, 8),
        Type::E2m1x2 => (format::E2M1, 4),
        _ => return None,
    })
}

impl Conversion {
    /// The result of one lane.
    pub(crate) fn apply(&self, a: u64, b: u64) -> u64 {
        if self.to == Type::Ue8m0x2 || self.from == Type::Ue8m0x2 {
            return self.scales(a, b);
        }
        if self.pair {
            let halves = [b, a].map(|bits| format::F32.decode(bits as u32));
            return self.packed(halves);
        }
        if let Some((source, bits)) = element_format(self.from) {
            let mask = (1u64 << bits) - 1;
            let halves = [a, a >> bits].map(|code| source.decode((code & mask) as u32));
            return self.packed(halves);
        }
        if self.to == Type::Tf32 {
            let value = self.flushed(format::F32.decode(a as u32));
            let code = format::TF32.encode(value, self.rounding, self.finite);
            return u64::from(code << 13 & !(u32::from(self.relu && value < 0.0) * u32::MAX));
        }
        if self.from.is_float() { self.float_source(a) } else { self.integer_source(a) }
    }

    /// Two values, lower first, in a packed type.
    fn packed(&self, values: [f64; 2]) -> u64 {
        let Some((target, bits)) = element_format(self.to) else { return 0 };
        let [low, high] = values.map(|value| {
            let value = if self.relu && value < 0.0 { 0.0 } else { self.flushed(value) };
            u64::from(target.encode(value, self.rounding, self.finite))
        });
        high << bits | low
    }

    /// Powers of two without sign: a code is the biased exponent, 255 is NaN.
    fn scales(&self, a: u64, b: u64) -> u64 {
        let encode = |value: f64| -> u64 {
            if value.is_nan() {
                return 255;
            }
            let magnitude = value.abs();
            if magnitude.is_infinite() {
                return if self.finite { 254 } else { 255 };
            }
            let floor = (magnitude.to_bits() >> 52) as i64 - 1023 + 127;
            let exact = magnitude.to_bits() << 12 == 0;
            let up =
                self.rounding == Rounding::Up && !exact && magnitude > format::power_of_two(-127);
            (floor.max(0) + i64::from(up)).clamp(0, 255 - i64::from(self.finite)) as u64
        };
        match (self.to, self.from) {
            (Type::Bf16x2, _) => {
                let decode = |code: u64| match code & 255 {
                    255 => u64::from(format::BF16.nan()),
                    // 2^-127 is the subnormal with the highest fraction bit.
                    0 => 0x40,
                    exponent => exponent << 7,
                };
                decode(a >> 8) << 16 | decode(a)
            }
            (_, Type::Bf16x2) => {
                let value = |code: u64| format::BF16.decode(code as u32 & 0xffff);
                encode(value(a >> 16)) << 8 | encode(value(a))
            }
            _ => {
                let value = |code: u64| format::F32.decode(code as u32);
                encode(value(a)) << 8 | encode(value(b))
            }
        }
    }

    fn flushed(&self, value: f64) -> f64 {
        let subnormal = value.abs() < format::power_of_two(-126);
        if self.flush && subnormal { 0f64.copysign(value) } else { value }
    }

    fn float_source(&self, a: u64) -> u64 {
        let value = match format_of(self.from) {
            Some(source) => source.decode(a as u32),
            None => f64::from_bits(a),
        };
        let value = if self.from == Type::F32 { self.flushed(value) } else { value };
        if self.to.is_float() {
            return self.float_result(exact::known(self.integer.map_or(value, |r| r.apply(value))));
        }
        let bits = self.to.bytes() * 8;
        if value.is_nan() {
            let zero = self.from != Type::F64 && bits < 64;
            return if zero { 0 } else { 1 << (bits - 1) };
        }
        let rounded = self.integer.unwrap_or(IntegerRounding::Zero).apply(value);
        self.extended(self.clamped(rounded as i128))
    }

    fn integer_source(&self, a: u64) -> u64 {
        let shift = 64 - self.from.bytes() * 8;
        let value = if self.from.is_signed() {
            i128::from((a << shift) as i64 >> shift)
        } else {
            i128::from(a << shift >> shift)
        };
        if self.to.is_float() {
            return self.float_result(exact::integer(value));
        }
        self.extended(if self.saturate { self.clamped(value) } else { value })
    }

    fn float_result(&self, value: exact::Rounded) -> u64 {
        let Some(target) = format_of(self.to) else {
            let mut result = value.directed(self.rounding);
            if self.saturate {
                result = if result > 0.0 { result.min(1.0) } else { 0.0 };
            }
            return if result.is_nan() { NAN_F64 } else { result.to_bits() };
        };
        let mut result = value.odd();
        if self.saturate {
            result = if result > 0.0 { result.min(1.0) } else { 0.0 };
        }
        if self.relu && result < 0.0 {
            result = 0.0;
        }
        let code = target.encode(result, self.rounding, self.finite);
        let subnormal = target.decode(code).abs() < format::power_of_two(-126);
        if self.flush && self.to == Type::F32 && subnormal {
            return u64::from(code & 0x8000_0000);
        }
        u64::from(code)
    }

    /// The value in the range of the destination type.
    fn clamped(&self, value: i128) -> i128 {
        let bits = self.to.bytes() * 8;
        if self.to.is_signed() {
            value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        } else {
            value.clamp(0, (1 << bits) - 1)
        }
    }

    /// The destination type's bits, extended to its register.
    fn extended(&self, value: i128) -> u64 {
        let shift = 64 - self.to.bytes() * 8;
        let bits = (value as u64) << shift;
        let full = if self.to.is_signed() { (bits as i64 >> shift) as u64 } else { bits >> shift };
        full & (u64::MAX >> (64 - self.register_bytes.clamp(1, 8) * 8))
    }
}
