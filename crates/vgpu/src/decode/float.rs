//! Floating-point instructions (PTX ISA, "Floating-Point", "Half Precision" and "Mixed Precision
//! Instructions").

use super::Decoded;
use super::reader::Reader;
use crate::counters::InstructionClass::{self, Double, Float, Special};
use crate::error::PtxError;
use crate::numeric::{FloatInstruction, FloatOp, NAN_F32, Rounding, approximate};
use crate::program::Op;
use crate::ptx::types::Type::{self, F32, F64};
use crate::registers::{LaneFn, Slot, lane_fn};

/// The rounding modifier, if there is one.
pub(super) fn rounding(r: &Reader<'_, '_>) -> Option<Rounding> {
    r.parts[1..].iter().find_map(|part| {
        Some(match *part {
            "rn" => Rounding::NearestEven,
            "rna" => Rounding::NearestAway,
            "rz" => Rounding::Zero,
            "rm" => Rounding::Down,
            "rp" => Rounding::Up,
            _ => return None,
        })
    })
}

fn operation(r: &Reader<'_, '_>) -> Option<(FloatOp, usize)> {
    let nan = r.has("NaN");
    Some(match r.name() {
        "add" => (FloatOp::Add, 2),
        "sub" => (FloatOp::Sub, 2),
        "mul" => (FloatOp::Mul, 2),
        "fma" | "mad" => (FloatOp::Fma, 3),
        "div" => (FloatOp::Div, 2),
        "rcp" => (FloatOp::Rcp, 1),
        "sqrt" => (FloatOp::Sqrt, 1),
        "min" if nan => (FloatOp::MinNan, 2),
        "max" if nan => (FloatOp::MaxNan, 2),
        "min" => (FloatOp::Min, 2),
        "max" => (FloatOp::Max, 2),
        "abs" => (FloatOp::Abs, 1),
        "neg" => (FloatOp::Neg, 1),
        "ex2" => (FloatOp::Ex2, 1),
        "tanh" => (FloatOp::Tanh, 1),
        _ => return None,
    })
}

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    match r.name() {
        "rsqrt" | "lg2" | "sin" | "cos" => return approximation(r).map(Some),
        "copysign" => return copy_sign(r).map(Some),
        _ => {}
    }
    let Some((op, sources)) = operation(r) else { return Ok(None) };
    let kind = r.kind()?;
    if !(kind.is_float() || kind == Type::F32x2) {
        return Ok(None);
    }
    let approximate = r.has("approx") || r.has("full");
    if approximate && matches!(kind, F32 | F64) {
        return approximation(r).map(Some);
    }
    if r.types.len() > 1 {
        return mixed(r, op, sources).map(Some);
    }
    if sources == 2 && r.count() == 4 {
        return Err(r.error("three-input forms are not supported"));
    }
    let instruction = FloatInstruction {
        op,
        kind,
        rounding: rounding(r).unwrap_or(Rounding::NearestEven),
        // bf16 results of `ex2` and `tanh` flush only where the modifier says so, as all others.
        flush: r.has("ftz"),
        saturate: r.has("sat"),
        relu: r.has("relu"),
    };
    r.expect_count(sources + 1..=sources + 1)?;
    let mut slots: [Slot; 4] = [0; 4];
    slots[0] = r.result(0, kind.is_wide())?;
    for (index, slot) in slots.iter_mut().enumerate().skip(1).take(sources) {
        *slot = r.source(index, kind)?;
    }
    let class = match (op, kind) {
        (FloatOp::Ex2 | FloatOp::Tanh, _) => Special,
        (_, F64) => Double,
        _ => Float,
    };
    Ok(Some((plain(instruction, slots), class)))
}

#[inline]
fn bits(value: f32) -> u32 {
    if value.is_nan() { NAN_F32 } else { value.to_bits() }
}

/// The vectorised form of the commonest instructions, else the general one.
fn plain(instruction: FloatInstruction, slots: [Slot; 4]) -> Op {
    let simple = instruction.rounding == Rounding::NearestEven
        && !instruction.flush
        && !instruction.saturate
        && !instruction.relu;
    let run: Option<LaneFn> = match (instruction.op, instruction.kind) {
        _ if !simple => None,
        (FloatOp::Add, F32) => Some(lane_fn!(u32 = |a: f32, b: f32| bits(a + b))),
        (FloatOp::Sub, F32) => Some(lane_fn!(u32 = |a: f32, b: f32| bits(a - b))),
        (FloatOp::Mul, F32) => Some(lane_fn!(u32 = |a: f32, b: f32| bits(a * b))),
        (FloatOp::Div, F32) => Some(lane_fn!(u32 = |a: f32, b: f32| bits(a / b))),
        (FloatOp::Fma, F32) => Some(lane_fn!(u32 = |a: f32, b: f32, c: f32| bits(a.mul_add(b, c)))),
        (FloatOp::Neg, F32) => Some(lane_fn!(u32 = |a: u32| a ^ 0x8000_0000)),
        (FloatOp::Abs, F32) => Some(lane_fn!(u32 = |a: u32| a & 0x7fff_ffff)),
        _ => None,
    };
    match run {
        Some(run) => Op::Lanes(run, slots),
        None => Op::Float(instruction, slots),
    }
}

/// `add.f32.bf16` and the like: the 16-bit source is widened exactly.
fn mixed(
    r: &mut Reader<'_, '_>,
    op: FloatOp,
    sources: usize,
) -> Result<(Op, InstructionClass), PtxError> {
    let &[F32, small @ (Type::F16 | Type::Bf16)] = r.types.as_slice() else {
        return Err(r.error("no such types"));
    };
    let (narrow, plain) = match op {
        FloatOp::Fma => (2, FloatOp::Fma),
        FloatOp::Add | FloatOp::Sub => (1, op),
        _ => return Err(r.error("no such types")),
    };
    let mut slots: [Slot; 4] = [0; 4];
    slots[0] = r.result(0, false)?;
    for (index, slot) in slots.iter_mut().enumerate().skip(1).take(sources) {
        *slot = r.source(index, if index <= narrow { small } else { F32 })?;
    }
    let instruction = FloatInstruction {
        op: plain,
        kind: F32,
        rounding: rounding(r).unwrap_or(Rounding::NearestEven),
        flush: false,
        saturate: r.has("sat"),
        relu: false,
    };
    Ok((Op::MixedFloat { instruction, small, narrow, slots }, Float))
}

fn approximation(r: &mut Reader<'_, '_>) -> Result<(Op, InstructionClass), PtxError> {
    let kind = r.kind()?;
    let (name, ftz) = (r.name(), r.has("ftz"));
    let (run, accuracy, sources) = match kind {
        F32 if name == "div" => {
            let (run, accuracy) = approximate::divide(ftz);
            (run, accuracy, 2)
        }
        F32 => {
            let found = approximate::function(name, ftz);
            let (run, accuracy) = found.ok_or_else(|| r.error("no such function"))?;
            (run, accuracy, 1)
        }
        F64 if ftz => {
            let found = approximate::double(name);
            let (run, accuracy) = found.ok_or_else(|| r.error("no such function"))?;
            (run, accuracy, 1)
        }
        _ => return Err(r.error("no such type")),
    };
    r.expect_count(sources + 1..=sources + 1)?;
    let mut slots: [Slot; 4] = [0; 4];
    slots[0] = r.result(0, kind.is_wide())?;
    for (index, slot) in slots.iter_mut().enumerate().skip(1).take(sources) {
        *slot = r.source(index, kind)?;
    }
    Ok((Op::Approximate(run, slots, accuracy), Special))
}

const SIGN: u64 = 1 << 63;

/// The sign of the first source with the magnitude of the second.
fn copy_sign(r: &mut Reader<'_, '_>) -> Result<(Op, InstructionClass), PtxError> {
    r.expect_count(3..=3)?;
    let kind = r.kind()?;
    let run = match kind {
        F32 => lane_fn!(u32 = |a: u32, b: u32| a & 0x8000_0000 | b & 0x7fff_ffff),
        F64 => lane_fn!(u64 = |a: u64, b: u64| a & SIGN | b & !SIGN),
        _ => return Err(r.error("no such type")),
    };
    let slots = [r.result(0, kind.is_wide())?, r.source(1, kind)?, r.source(2, kind)?, 0];
    Ok((Op::Lanes(run, slots), Float))
}
