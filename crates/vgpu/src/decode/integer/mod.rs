//! Integer, logic and comparison instructions.

pub(crate) mod arithmetic;
pub(crate) use arithmetic as wide_products;
mod bits;
mod compare;

use super::Decoded;
use super::reader::Reader;
use crate::counters::InstructionClass::Integer;
use crate::error::PtxError;
use crate::program::{Carry, CarryKind, Op};
use crate::ptx::types::Type;
use crate::registers::{LaneFn, Slot};

/// Sign extension of the low half of a slot.
#[inline]
pub(super) fn signed16(value: u32) -> i32 {
    i32::from(value as u16 as i16)
}

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    match r.name() {
        "add" | "sub" | "mul" | "mad" | "addc" | "subc" | "madc" => sum_or_product(r),
        "div" | "rem" | "abs" | "neg" | "min" | "max" => plain(r),
        "mul24" | "mad24" | "sad" | "dp4a" | "dp2a" => special_product(r),
        "and" | "or" | "xor" | "not" | "cnot" => logic(r),
        "shl" | "shr" => shift(r),
        "popc" | "clz" | "brev" | "bfind" | "bfe" | "bfi" | "lop3" | "prmt" | "shf" | "bmsk"
        | "szext" => bits::decode(r),
        "setp" | "set" | "selp" | "slct" => compare::decode(r),
        _ => Ok(None),
    }
}

/// An operation of `count` sources of one type.
pub(super) fn lanes_op(
    r: &mut Reader<'_, '_>,
    run: LaneFn,
    result: Type,
    sources: &[Type],
) -> Result<Op, PtxError> {
    r.expect_count(sources.len() + 1..=sources.len() + 1)?;
    let mut slots: [Slot; 4] = [0; 4];
    slots[0] = r.result(0, result.is_wide())?;
    for (index, &kind) in sources.iter().enumerate() {
        slots[index + 1] = r.source(index + 1, kind)?;
    }
    Ok(Op::Lanes(run, slots))
}

fn is_integer(kind: Type) -> bool {
    !kind.is_float() && !matches!(kind, Type::Pred | Type::F32x2 | Type::Tf32)
}

fn sum_or_product(r: &mut Reader<'_, '_>) -> Decoded {
    let kind = r.kind()?;
    if !is_integer(kind) {
        return Ok(None);
    }
    if r.has("cc") || r.name().ends_with('c') {
        return carry(r, kind).map(|op| Some((op, Integer)));
    }
    let name = r.name();
    let fma = name == "mad";
    let sources = if fma { 3 } else { 2 };
    if r.has("wide") {
        let run = arithmetic::wide(kind, fma).ok_or_else(|| r.error("no such type"))?;
        let double = match kind {
            Type::U16 | Type::S16 => Type::B32,
            _ => Type::B64,
        };
        let op = lanes_op(r, run, double, &[kind, kind, double][..sources])?;
        return Ok(Some((op, Integer)));
    }
    let run = match name {
        "add" | "sub" if r.has("sat") => arithmetic::saturating(name, kind),
        "add" | "sub" => arithmetic::sum(name, kind),
        _ if r.has("hi") && !r.has("sat") => arithmetic::high(kind, fma),
        _ if r.has("lo") && !r.has("sat") => arithmetic::low(kind, fma),
        _ => None,
    };
    let run = run.ok_or_else(|| r.error("no such type"))?;
    let op = lanes_op(r, run, kind, &[kind; 3][..sources])?;
    Ok(Some((op, Integer)))
}

fn carry(r: &mut Reader<'_, '_>, kind: Type) -> Result<Op, PtxError> {
    let name = r.name();
    let adds_flag = name.ends_with('c');
    let product = name.starts_with("mad");
    let family = match name.strip_suffix('c').unwrap_or(name) {
        "add" => CarryKind::Add,
        "sub" => CarryKind::Subtract,
        _ if r.has("hi") => CarryKind::MultiplyHigh { signed: kind.is_signed() },
        _ => CarryKind::MultiplyLow,
    };
    if !matches!(kind.bytes(), 4 | 8) {
        return Err(r.error("no such type"));
    }
    let sources = if product { 3 } else { 2 };
    r.expect_count(sources + 1..=sources + 1)?;
    let mut slots = [0; 4];
    slots[0] = r.result(0, kind.is_wide())?;
    for (index, slot) in slots.iter_mut().enumerate().skip(1).take(sources) {
        *slot = r.source(index, kind)?;
    }
    let sets_flag = r.has("cc");
    Ok(Op::Carry(Carry { kind: family, wide: kind.is_wide(), adds_flag, sets_flag, slots }))
}

fn plain(r: &mut Reader<'_, '_>) -> Decoded {
    let kind = r.kind()?;
    if !is_integer(kind) {
        return Ok(None);
    }
    let name = r.name();
    let run = match name {
        _ if r.has("relu") => arithmetic::clamped(name, kind),
        "div" | "rem" => arithmetic::quotient(name, kind),
        "abs" | "neg" => arithmetic::unary(name, kind),
        _ => arithmetic::extremum(name, kind),
    };
    let run = run.ok_or_else(|| r.error("no such type"))?;
    let sources = if matches!(name, "abs" | "neg") { 1 } else { 2 };
    let op = lanes_op(r, run, kind, &[kind; 2][..sources])?;
    Ok(Some((op, Integer)))
}

fn special_product(r: &mut Reader<'_, '_>) -> Decoded {
    let name = r.name();
    let kind = r.kind()?;
    if name == "dp4a" || name == "dp2a" {
        let &[a, b] = r.types.as_slice() else { return Err(r.error("two types expected")) };
        let run = bits::dot(name, a.is_signed(), b.is_signed(), r.has("hi"));
        let op = lanes_op(r, run, Type::B32, &[Type::B32; 3])?;
        return Ok(Some((op, Integer)));
    }
    let run = arithmetic::small_product(name, kind, r.has("hi"));
    let run = run.ok_or_else(|| r.error("no such type"))?;
    let sources = if name == "mul24" { 2 } else { 3 };
    let unsigned = if kind == Type::S32 && name == "sad" { Type::S32 } else { kind };
    let op = lanes_op(r, run, kind, &[kind, kind, unsigned][..sources])?;
    Ok(Some((op, Integer)))
}

fn logic(r: &mut Reader<'_, '_>) -> Decoded {
    let kind = r.kind()?;
    if kind == Type::Pred {
        return Ok(None);
    }
    let run = bits::logic(r.name(), kind).ok_or_else(|| r.error("no such type"))?;
    let sources = if matches!(r.name(), "not" | "cnot") { 1 } else { 2 };
    let op = lanes_op(r, run, kind, &[kind; 2][..sources])?;
    Ok(Some((op, Integer)))
}

fn shift(r: &mut Reader<'_, '_>) -> Decoded {
    let kind = r.kind()?;
    let run = bits::shift(r.name(), kind).ok_or_else(|| r.error("no such type"))?;
    let op = lanes_op(r, run, kind, &[kind, Type::U32])?;
    Ok(Some((op, Integer)))
}
