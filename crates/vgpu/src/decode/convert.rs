//! Moves and conversions (PTX ISA, "Data Movement and Conversion Instructions").

use super::Decoded;
use super::float::rounding;
use super::reader::{LOCAL_WINDOW, PARAM_WINDOW, Reader, SHARED_WINDOW};
use crate::counters::InstructionClass::{Convert, Integer};
use crate::error::PtxError;
use crate::numeric::{Conversion, IntegerRounding, Rounding};
use crate::program::{Logic, Op, Space};
use crate::ptx::ast::Operand;
use crate::ptx::types::Type;
use crate::registers::{LaneFn, Slot, lane_fn};

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    let op = match r.name() {
        "mov" => return mov(r).map(|op| Some((op, Integer))),
        "and" | "or" | "xor" | "not" if r.kind()? == Type::Pred => predicate_logic(r)?,
        "cvt" => return convert(r).map(|op| Some((op, Convert))),
        "cvta" => to_generic(r)?,
        "isspacep" => {
            let space = super::memory::space(r)?;
            let result = r.predicate_result(0)?;
            Op::IsSpace { result, space, address: r.source(1, Type::B64)? }
        }
        _ => return Ok(None),
    };
    Ok(Some((op, Integer)))
}

fn mov(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    r.expect_count(2..=2)?;
    let kind = r.kind()?;
    if kind == Type::Pred {
        return Ok(Op::MovePredicate(r.predicate_result(0)?, r.predicate(1)?));
    }
    if kind.bytes() > 8 {
        return Err(r.error("128 bits are not supported"));
    }
    let wide = kind.is_wide();
    let (target, source) = (r.operand(0)?.clone(), r.operand(1)?.clone());
    if let Operand::Special(name) = source
        && (name.starts_with("%clock") || name.starts_with("%globaltimer"))
    {
        return Ok(Op::Clock { result: r.result(0, wide)?, wide });
    }
    if let Operand::List(parts) = target {
        let part_bits = kind.bytes() * 8 / parts.len() as u32;
        let part = part_type(part_bits).ok_or_else(|| r.error("no such number of parts"))?;
        let value = r.moved(&source, kind)?;
        let parts = parts.iter().map(|p| r.target(p, part.is_wide())).collect::<Result<_, _>>()?;
        return Ok(Op::Unpack { parts, part_bits, wide, value });
    }
    let result = r.result(0, wide)?;
    if let Operand::List(parts) = source {
        let part_bits = kind.bytes() * 8 / parts.len() as u32;
        let part = part_type(part_bits).ok_or_else(|| r.error("no such number of parts"))?;
        let parts = parts.iter().map(|p| r.moved(p, part)).collect::<Result<_, _>>()?;
        return Ok(Op::Pack { parts, part_bits, wide, result });
    }
    let value = r.moved(&source, kind)?;
    Ok(Op::Lanes(copy(wide), [result, value, 0, 0]))
}

fn part_type(bits: u32) -> Option<Type> {
    Some(match bits {
        8 => Type::B8,
        16 => Type::B16,
        32 => Type::B32,
        _ => return None,
    })
}

fn copy(wide: bool) -> LaneFn {
    if wide { lane_fn!(u64 = |a: u64| a) } else { lane_fn!(u32 = |a: u32| a) }
}

fn predicate_logic(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let result = r.predicate_result(0)?;
    let mut a = r.predicate(1)?;
    let logic = match r.name() {
        "not" => {
            a.negated = !a.negated;
            return Ok(Op::MovePredicate(result, a));
        }
        "and" => Logic::And,
        "or" => Logic::Or,
        _ => Logic::Xor,
    };
    Ok(Op::PredicateLogic(logic, result, a, r.predicate(2)?))
}

/// `cvta`: between addresses of a space and generic ones.
fn to_generic(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let space = super::memory::space(r)?;
    r.expect_count(2..=2)?;
    let base = match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
        _ => 0,
    };
    let to_space = r.has("to");
    let kind = r.kind()?;
    if !kind.is_wide() {
        return Err(r.error("only 64-bit addresses are supported"));
    }
    let difference = if to_space { base.wrapping_neg() } else { base };
    let offset = r.decoder.constant(difference, true);
    let slots = [r.result(0, true)?, r.source(1, kind)?, offset, 0];
    Ok(Op::Lanes(lane_fn!(u64 = |a: u64, b: u64| a.wrapping_add(b)), slots))
}

fn integer_rounding(r: &Reader<'_, '_>) -> Option<IntegerRounding> {
    r.parts[1..].iter().find_map(|part| {
        Some(match *part {
            "rni" => IntegerRounding::NearestEven,
            "rzi" => IntegerRounding::Zero,
            "rmi" => IntegerRounding::Down,
            "rpi" => IntegerRounding::Up,
            _ => return None,
        })
    })
}

fn convert(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    use Type::{Bf16x2, E2m1x2, E4m3x2, E5m2x2, F16x2, F32, Ue8m0x2};
    let &[to, from] = r.types.as_slice() else { return Err(r.error("two types expected")) };
    let packed = matches!(to, F16x2 | Bf16x2 | E4m3x2 | E5m2x2 | E2m1x2 | Ue8m0x2);
    let pair = packed && from == F32;
    let operands = if pair { 3 } else { 2 };
    r.expect_count(operands..=operands)?;
    let target = r.operand(0)?.clone();
    let Operand::Register(id) = target else { return Err(r.error("a register expected")) };
    let register = r.register_type(id);
    let conversion = Conversion {
        to,
        from,
        rounding: rounding(r).unwrap_or(Rounding::NearestEven),
        integer: integer_rounding(r),
        saturate: r.has("sat"),
        finite: r.has("satfinite"),
        flush: r.has("ftz"),
        relu: r.has("relu"),
        pair,
        register_bytes: register.bytes(),
    };
    let wide_source = match r.operand(1)?.clone() {
        Operand::Register(id) => r.register_type(id).is_wide(),
        _ => from.is_wide(),
    };
    let source_kind = if wide_source { Type::B64 } else { Type::B32 };
    let a = r.source(1, if wide_source == from.is_wide() { from } else { source_kind })?;
    let b = if pair { r.source(2, from)? } else { 0 };
    let result = r.result(0, register.is_wide())?;
    let slots: [Slot; 4] = [result, a, b, 0];
    if let Some(run) = common(&conversion, wide_source, register) {
        return Ok(Op::Lanes(run, slots));
    }
    Ok(Op::Convert(conversion, wide_source, register.is_wide(), slots))
}

/// Vectorised forms of the commonest conversions.
fn common(conversion: &Conversion, wide_source: bool, register: Type) -> Option<LaneFn> {
    use Type::{Bf16, F16, F32, S32, S64, U8, U16, U32, U64};
    let plain = Conversion {
        rounding: Rounding::NearestEven,
        integer: None,
        saturate: false,
        finite: false,
        flush: false,
        relu: false,
        ..*conversion
    };
    if *conversion != plain {
        return None;
    }
    let wide = register.is_wide();
    Some(match (conversion.to, conversion.from, wide_source, wide) {
        (U64, U32, false, true) => lane_fn!(u64 = |a: u32| u64::from(a)),
        (S64, S32, false, true) => lane_fn!(i64 = |a: i32| i64::from(a)),
        (U32 | S32, U64 | S64, true, false) => lane_fn!(u32 = |a: u64| a as u32),
        (U32, U16, false, false) => lane_fn!(u32 = |a: u32| a & 0xffff),
        (U32 | U16, U8, false, false) => lane_fn!(u32 = |a: u32| a & 0xff),
        (U16, U32, false, false) if register.bytes() == 2 => lane_fn!(u32 = |a: u32| a & 0xffff),
        (F32, S32, false, false) => lane_fn!(f32 = |a: i32| a as f32),
        (F32, U32, false, false) => lane_fn!(f32 = |a: u32| a as f32),
        (F32, Bf16, false, false) => lane_fn!(
            u32 = |a: u32| {
                let code = a << 16;
                if code & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { code }
            }
        ),
        (F32, F16, false, false) => lane_fn!(
            u32 = |a: u32| {
                let value = half::f16::from_bits(a as u16).to_f32();
                if value.is_nan() { 0x7fff_ffff } else { value.to_bits() }
            }
        ),
        (F16, F32, false, false) => lane_fn!(
            u32 = |a: f32| {
                if a.is_nan() { 0x7fff } else { u32::from(half::f16::from_f32(a).to_bits()) }
            }
        ),
        (Bf16, F32, false, false) => lane_fn!(
            u32 = |a: f32| {
                let code = a.to_bits();
                let rounded = code.wrapping_add(0x7fff + (code >> 16 & 1)) >> 16;
                if a.is_nan() { 0x7fff } else { rounded }
            }
        ),
        _ => return None,
    })
}
