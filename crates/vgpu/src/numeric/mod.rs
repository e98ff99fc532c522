//! What arithmetic instructions compute, one lane at a time: the PTX ISA's definitions.
#![allow(
    clippy::float_cmp,
    clippy::neg_cmp_op_on_partial_ord,
    reason = "rounding and saturation are defined by exact comparisons, NaN included"
)]

pub(crate) mod approximate;
mod convert;
pub(crate) mod exact;
pub(crate) mod format;

pub(crate) use approximate::Accuracy;
pub(crate) use convert::{Conversion, IntegerRounding};
pub(crate) use format::{Format, Rounding};

use crate::ptx::types::Type;

/// The NaN that binary32 operations yield (PTX ISA, "Floating-Point Instructions").
pub(crate) const NAN_F32: u32 = 0x7fff_ffff;

/// The NaN that binary64 operations yield here; the ISA leaves its payload open.
const NAN_F64: u64 = 0x7fff_ffff_ffff_ffff;

/// A floating-point operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FloatOp {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Rcp,
    Sqrt,
    Min,
    Max,
    MinNan,
    MaxNan,
    Abs,
    Neg,
    Ex2,
    Tanh,
}

/// A floating-point operation with its modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloatInstruction {
    pub(crate) op: FloatOp,
    pub(crate) kind: Type,
    pub(crate) rounding: Rounding,
    /// Subnormal inputs and results become zero of their sign.
    pub(crate) flush: bool,
    /// Results are clamped to 0..=1, NaN to 0.
    pub(crate) saturate: bool,
    /// Negative results and NaN become 0 and canonical NaN (`.relu`).
    pub(crate) relu: bool,
}

/// Format of a type's elements, if they have at most 32 bits.
pub(crate) fn format_of(kind: Type) -> Option<Format> {
    Some(match kind {
        Type::F32 | Type::F32x2 => format::F32,
        Type::F16 | Type::F16x2 => format::F16,
        Type::Bf16 | Type::Bf16x2 => format::BF16,
        _ => return None,
    })
}

impl FloatInstruction {
    /// The result of one lane; packed types element by element.
    pub(crate) fn apply(self, a: u64, b: u64, c: u64) -> u64 {
        let element = |bits: u32| {
            let mask = (1u64 << bits) - 1;
            let format = format_of(self.kind).unwrap_or(format::F32);
            let count = self.kind.bytes() * 8 / bits;
            (0..count).fold(0, |packed, index| {
                let part = |value: u64| (value >> (index * bits) & mask) as u32;
                let result = self.element(format, part(a), part(b), part(c));
                packed | u64::from(result) << (index * bits)
            })
        };
        match self.kind {
            Type::F64 => self.double(a, b, c),
            Type::F32 | Type::F32x2 => element(32),
            _ => element(16),
        }
    }

    fn element(self, format: Format, a: u32, b: u32, c: u32) -> u32 {
        let sign = 1 << (if format == format::F32 { 31 } else { 15 });
        match self.op {
            FloatOp::Abs => return self.flushed(format, a & !sign),
            FloatOp::Neg => return self.flushed(format, a ^ sign),
            _ => {}
        }
        let read = |code: u32| format.decode(self.flushed(format, code));
        let exact = self.odd(read(a), read(b), read(c));
        let mut code = self.flushed(format, format.encode(exact, self.rounding, false));
        let value = format.decode(code);
        if self.saturate && !(value > 0.0) {
            code = 0;
        } else if self.saturate && value > 1.0 {
            code = format.encode(1.0, Rounding::NearestEven, false);
        }
        // Also where the result is rounded to -0.
        if self.relu && exact < 0.0 {
            code = 0;
        }
        code
    }

    /// The code with a subnormal replaced by zero, if this instruction flushes.
    fn flushed(self, format: Format, code: u32) -> u32 {
        let value = format.decode(code);
        let smallest_normal = if format == format::F16 { 2f64.powi(-14) } else { 2f64.powi(-126) };
        if self.flush && value.abs() < smallest_normal {
            return format.encode(0f64.copysign(value), Rounding::NearestEven, false);
        }
        code
    }

    /// A sum with the sign of zero that rounding down gives it.
    fn sum(self, sum: exact::Rounded, terms: [f64; 2]) -> exact::Rounded {
        let positive = |term: &f64| *term == 0.0 && term.is_sign_positive();
        if self.rounding == Rounding::Down && !terms.iter().all(positive) {
            return sum.with_negative_zero();
        }
        sum
    }

    /// The result in binary64, exact or rounded to odd.
    fn odd(self, a: f64, b: f64, c: f64) -> f64 {
        match self.op {
            FloatOp::Add => self.sum(exact::add(a, b), [a, b]).odd(),
            FloatOp::Sub => self.sum(exact::add(a, -b), [a, -b]).odd(),
            FloatOp::Mul => exact::multiply(a, b).odd(),
            FloatOp::Fma => self.sum(exact::multiply_add(a, b, c), [a * b, c]).odd(),
            FloatOp::Div => exact::divide(a, b).odd(),
            FloatOp::Rcp => exact::divide(1.0, a).odd(),
            FloatOp::Sqrt => exact::square_root(a).odd(),
            FloatOp::Ex2 => a.exp2(),
            FloatOp::Tanh => a.tanh(),
            FloatOp::Abs => a.abs(),
            FloatOp::Neg => -a,
            FloatOp::MinNan | FloatOp::MaxNan if a.is_nan() || b.is_nan() => f64::NAN,
            FloatOp::Min | FloatOp::MinNan => minimum(a, b),
            FloatOp::Max | FloatOp::MaxNan => -minimum(-a, -b),
        }
    }

    fn double(self, a: u64, b: u64, c: u64) -> u64 {
        let [x, y, z] = [a, b, c].map(f64::from_bits);
        let value = match self.op {
            FloatOp::Abs => return a & !(1 << 63),
            FloatOp::Neg => return a ^ 1 << 63,
            FloatOp::Add => self.sum(exact::add(x, y), [x, y]).directed(self.rounding),
            FloatOp::Sub => self.sum(exact::add(x, -y), [x, -y]).directed(self.rounding),
            FloatOp::Mul => exact::multiply(x, y).directed(self.rounding),
            FloatOp::Fma => {
                self.sum(exact::multiply_add(x, y, z), [x * y, z]).directed(self.rounding)
            }
            FloatOp::Div => exact::divide(x, y).directed(self.rounding),
            FloatOp::Rcp => exact::divide(1.0, x).directed(self.rounding),
            FloatOp::Sqrt => exact::square_root(x).directed(self.rounding),
            _ => self.odd(x, y, z),
        };
        if value.is_nan() { NAN_F64 } else { value.to_bits() }
    }
}

/// IEEE 754-2008 minimum of numbers: a NaN yields to a number; -0 is less than +0.
fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() {
        b
    } else if b.is_nan() || a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}
