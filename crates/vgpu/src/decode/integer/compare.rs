//! Comparison and selection (PTX ISA, "Comparison and Selection Instructions").
#![allow(
    clippy::float_cmp,
    clippy::neg_cmp_op_on_partial_ord,
    reason = "the ISA's comparisons are exact, and its unordered ones are such negations"
)]

use super::super::Decoded;
use super::super::reader::Reader;
use super::signed16;
use crate::counters::InstructionClass::{Float, Integer};
use crate::error::PtxError;
use crate::numeric::{Rounding, format_of};
use crate::program::{Compare, Logic, Op};
use crate::ptx::ast::Operand;
use crate::ptx::types::Type::{
    self, B16, B32, B64, Bf16, F16, F32, F64, S16, S32, S64, U16, U32, U64,
};
use crate::registers::{CompareFn, compare_fn, lane_fn};

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
    "geu", "num", "nan",
];

fn half(code: u32) -> f32 {
    half::f16::from_bits(code as u16).to_f32()
}

/// As [`half`], with subnormals as zero.
fn normal_half(code: u32) -> f32 {
    if code & 0x7c00 == 0 { 0.0 } else { half(code) }
}

fn brain(code: u32) -> f32 {
    f32::from_bits(code << 16)
}

fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { 0.0 } else { value }
}

/// The comparison of a name and type.
fn comparison(name: &str, kind: Type, flush: bool) -> Option<CompareFn> {
    macro_rules! ordered {
        ($ty:ty, $map:expr) => {
            match name {
                "eq" => compare_fn!(|a, b: $ty| $map(a) == $map(b)),
                "ne" => compare_fn!(|a, b: $ty| $map(a) != $map(b)),
                "lt" | "lo" => compare_fn!(|a, b: $ty| $map(a) < $map(b)),
                "le" | "ls" => compare_fn!(|a, b: $ty| $map(a) <= $map(b)),
                "gt" | "hi" => compare_fn!(|a, b: $ty| $map(a) > $map(b)),
                "ge" | "hs" => compare_fn!(|a, b: $ty| $map(a) >= $map(b)),
                _ => return None,
            }
        };
    }
    macro_rules! float {
        ($ty:ty, $map:expr) => {
            match name {
                "eq" => compare_fn!(|a, b: $ty| $map(a) == $map(b)),
                "ne" => compare_fn!(|a, b: $ty| $map(a) < $map(b) || $map(a) > $map(b)),
                "lt" => compare_fn!(|a, b: $ty| $map(a) < $map(b)),
                "le" => compare_fn!(|a, b: $ty| $map(a) <= $map(b)),
                "gt" => compare_fn!(|a, b: $ty| $map(a) > $map(b)),
                "ge" => compare_fn!(|a, b: $ty| $map(a) >= $map(b)),
                "equ" => compare_fn!(|a, b: $ty| !($map(a) < $map(b) || $map(a) > $map(b))),
                "neu" => compare_fn!(|a, b: $ty| !($map(a) == $map(b))),
                "ltu" => compare_fn!(|a, b: $ty| !($map(a) >= $map(b))),
                "leu" => compare_fn!(|a, b: $ty| !($map(a) > $map(b))),
                "gtu" => compare_fn!(|a, b: $ty| !($map(a) <= $map(b))),
                "geu" => compare_fn!(|a, b: $ty| !($map(a) < $map(b))),
                "num" => compare_fn!(|a, b: $ty| !$map(a).is_nan() && !$map(b).is_nan()),
                "nan" => compare_fn!(|a, b: $ty| $map(a).is_nan() || $map(b).is_nan()),
                _ => return None,
            }
        };
    }
    Some(match kind {
        U32 | B32 | U16 | B16 => ordered!(u32, |x: u32| x),
        S32 => ordered!(i32, |x: i32| x),
        S16 => ordered!(u32, signed16),
        U64 | B64 => ordered!(u64, |x: u64| x),
        S64 => ordered!(i64, |x: i64| x),
        F32 if flush => float!(f32, flushed),
        F32 => float!(f32, |x: f32| x),
        F64 => float!(f64, |x: f64| x),
        F16 if flush => float!(u32, normal_half),
        F16 => float!(u32, half),
        Bf16 => float!(u32, brain),
        _ => return None,
    })
}

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    match r.name() {
        "selp" => select(r).map(|op| Some((op, Integer))),
        "slct" => sign_select(r).map(|op| Some((op, Integer))),
        _ => {
            let class = if r.kind()?.is_float() { Float } else { Integer };
            compared(r).map(|op| Some((op, class)))
        }
    }
}

fn compared(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let kind = r.kind()?;
    let name = r.parts.iter().copied().find(|part| COMPARISONS.contains(part)).unwrap_or_default();
    let run = comparison(name, kind, r.has("ftz"));
    let run = run.ok_or_else(|| r.error(format!("comparison {name} of {kind:?}")))?;
    let (a, b) = (r.source(1, kind)?, r.source(2, kind)?);
    let logic = [("and", Logic::And), ("or", Logic::Or), ("xor", Logic::Xor)]
        .into_iter()
        .find_map(|(word, logic)| r.has(word).then_some(logic));
    let combine = match logic {
        Some(logic) => Some((logic, r.predicate(3)?)),
        None => None,
    };
    r.expect_count(3 + usize::from(combine.is_some())..=3 + usize::from(combine.is_some()))?;
    let mut compare = Compare { run, a, b, result: 0, complement: None, combine };
    if r.name() == "set" {
        let result_kind = r.types[0];
        let one = match format_of(result_kind) {
            Some(format) => format.encode(1.0, Rounding::NearestEven, false),
            None if result_kind.bytes() == 2 => 0xffff,
            None => u32::MAX,
        };
        let result = r.result(0, false)?;
        return Ok(Op::SetCompare(compare, result, one));
    }
    match r.operand(0)?.clone() {
        Operand::Pair(..) if matches!(kind, F16 | Bf16) => {
            return Err(r.error("one predicate expected"));
        }
        Operand::Pair(first, second) => {
            let result = r.predicate_target(&first)?;
            compare.complement = r.predicate_target(&second)?;
            compare.result = result.ok_or_else(|| r.error("a predicate expected"))?;
        }
        _ => compare.result = r.predicate_result(0)?,
    }
    Ok(Op::Compare(compare))
}

fn select(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    r.expect_count(4..=4)?;
    let kind = r.kind()?;
    let wide = kind.is_wide();
    let result = r.result(0, wide)?;
    // Which of the two is moved depends on the lane, so execution tells what becomes undefined.
    let (first, second) = (r.operand(1)?.clone(), r.operand(2)?.clone());
    let (a, b) = (r.value(&first, kind)?, r.value(&second, kind)?);
    r.flow.own = true;
    let predicate = r.predicate(3)?;
    Ok(Op::Select { wide, result, a, b, predicate })
}

/// `slct`: by the sign of the third operand.
fn sign_select(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let &[kind, by] = r.types.as_slice() else { return Err(r.error("two types expected")) };
    let run = match (kind.bytes(), by) {
        (2 | 4, S32) => lane_fn!(u32 = |a: u32, b: u32, c: i32| if c >= 0 { a } else { b }),
        (2 | 4, F32) if r.has("ftz") => {
            lane_fn!(u32 = |a: u32, b: u32, c: f32| if flushed(c) >= 0.0 { a } else { b })
        }
        (2 | 4, F32) => lane_fn!(u32 = |a: u32, b: u32, c: f32| if c >= 0.0 { a } else { b }),
        (8, S32) => lane_fn!(u64 = |a: u64, b: u64, c: i32| if c >= 0 { a } else { b }),
        (8, F32) if r.has("ftz") => {
            lane_fn!(u64 = |a: u64, b: u64, c: f32| if flushed(c) >= 0.0 { a } else { b })
        }
        (8, F32) => lane_fn!(u64 = |a: u64, b: u64, c: f32| if c >= 0.0 { a } else { b }),
        _ => return Err(r.error("no such type")),
    };
    super::lanes_op(r, run, kind, &[kind, kind, by])
}
