//! Logic, shifts and bit fields (PTX ISA, "Logic and Shift Instructions" and the bit field part
//! of "Integer Arithmetic Instructions").

use super::super::Decoded;
use super::super::reader::Reader;
use super::{lanes_op, signed16};
use crate::counters::InstructionClass::Integer;
use crate::program::Op;
use crate::ptx::types::Type::{self, B16, B32, B64, S16, S32, S64, U16, U32, U64};
use crate::registers::{LaneFn, lane_fn};

pub(super) fn logic(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("and", B64) => lane_fn!(u64 = |a: u64, b: u64| a & b),
        ("or", B64) => lane_fn!(u64 = |a: u64, b: u64| a | b),
        ("xor", B64) => lane_fn!(u64 = |a: u64, b: u64| a ^ b),
        ("not", B64) => lane_fn!(u64 = |a: u64| !a),
        ("cnot", B64) => lane_fn!(u64 = |a: u64| u64::from(a == 0)),
        ("and", B32 | B16) => lane_fn!(u32 = |a: u32, b: u32| a & b),
        ("or", B32 | B16) => lane_fn!(u32 = |a: u32, b: u32| a | b),
        ("xor", B32 | B16) => lane_fn!(u32 = |a: u32, b: u32| a ^ b),
        ("not", B32) => lane_fn!(u32 = |a: u32| !a),
        ("not", B16) => lane_fn!(u32 = |a: u32| !a & 0xffff),
        ("cnot", B32 | B16) => lane_fn!(u32 = |a: u32| u32::from(a == 0)),
        _ => return None,
    })
}

/// Amounts beyond the width shift everything out.
pub(super) fn shift(name: &str, kind: Type) -> Option<LaneFn> {
    Some(match (name, kind) {
        ("shl", B64) => lane_fn!(u64 = |a: u64, n: u32| a.checked_shl(n).unwrap_or(0)),
        ("shl", B32) => lane_fn!(u32 = |a: u32, n: u32| a.checked_shl(n).unwrap_or(0)),
        ("shl", B16) => lane_fn!(u32 = |a: u32, n: u32| a.checked_shl(n).unwrap_or(0) & 0xffff),
        ("shr", B64 | U64) => lane_fn!(u64 = |a: u64, n: u32| a.checked_shr(n).unwrap_or(0)),
        ("shr", B32 | U32 | B16 | U16) => {
            lane_fn!(u32 = |a: u32, n: u32| a.checked_shr(n).unwrap_or(0))
        }
        ("shr", S64) => lane_fn!(i64 = |a: i64, n: u32| a >> n.min(63)),
        ("shr", S32) => lane_fn!(i32 = |a: i32, n: u32| a >> n.min(31)),
        ("shr", S16) => lane_fn!(u32 = |a: u32, n: u32| (signed16(a) >> n.min(31)) as u32 & 0xffff),
        _ => return None,
    })
}

#[inline]
fn byte(value: u32, index: u32, signed: bool) -> i32 {
    let byte = (value >> (8 * index)) as u8;
    if signed { i32::from(byte as i8) } else { i32::from(byte) }
}

#[inline]
fn half(value: u32, index: u32, signed: bool) -> i32 {
    let half = (value >> (16 * index)) as u16;
    if signed { i32::from(half as i16) } else { i32::from(half) }
}

#[inline]
fn dot4<const A: bool, const B: bool>(a: u32, b: u32, c: u32) -> u32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add((byte(a, i, A) * byte(b, i, B)) as u32))
}

#[inline]
fn dot2<const A: bool, const B: bool, const HIGH: bool>(a: u32, b: u32, c: u32) -> u32 {
    let offset = if HIGH { 2 } else { 0 };
    (0..2).fold(c, |sum, i| {
        sum.wrapping_add(half(a, i, A).wrapping_mul(byte(b, i + offset, B)) as u32)
    })
}

pub(super) fn dot(name: &str, a_signed: bool, b_signed: bool, high: bool) -> LaneFn {
    macro_rules! run {
        ($f:expr) => {
            lane_fn!(u32 = |a: u32, b: u32, c: u32| $f(a, b, c))
        };
    }
    match (name, a_signed, b_signed, high) {
        ("dp4a", true, true, _) => run!(dot4::<true, true>),
        ("dp4a", true, false, _) => run!(dot4::<true, false>),
        ("dp4a", false, true, _) => run!(dot4::<false, true>),
        ("dp4a", false, false, _) => run!(dot4::<false, false>),
        (_, true, true, false) => run!(dot2::<true, true, false>),
        (_, true, false, false) => run!(dot2::<true, false, false>),
        (_, false, true, false) => run!(dot2::<false, true, false>),
        (_, false, false, false) => run!(dot2::<false, false, false>),
        (_, true, true, true) => run!(dot2::<true, true, true>),
        (_, true, false, true) => run!(dot2::<true, false, true>),
        (_, false, true, true) => run!(dot2::<false, true, true>),
        (_, false, false, true) => run!(dot2::<false, false, true>),
    }
}

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    let kind = r.kind()?;
    let op = match r.name() {
        "lop3" => return truth_table(r).map(|op| Some((op, Integer))),
        "bfi" => return insert(r, kind).map(|op| Some((op, Integer))),
        "popc" | "clz" | "bfind" => {
            let run = count(r.name(), kind, r.has("shiftamt"));
            lanes_op(r, run.ok_or_else(|| r.error("no such type"))?, U32, &[kind])?
        }
        "brev" => {
            let run = if kind == B64 {
                lane_fn!(u64 = |a: u64| a.reverse_bits())
            } else {
                lane_fn!(u32 = |a: u32| a.reverse_bits())
            };
            lanes_op(r, run, kind, &[kind])?
        }
        "bfe" => {
            let run = extract(kind).ok_or_else(|| r.error("no such type"))?;
            lanes_op(r, run, kind, &[kind, U32, U32])?
        }
        "bmsk" | "szext" => {
            let run = mask(r.name(), kind, r.has("wrap"));
            lanes_op(r, run.ok_or_else(|| r.error("no such type"))?, kind, &[kind, U32])?
        }
        "shf" => {
            let run = funnel(r.has("l"), r.has("wrap"));
            lanes_op(r, run, B32, &[B32, B32, U32])?
        }
        _ => {
            let run = permute(r);
            lanes_op(r, run, B32, &[B32, B32, B32])?
        }
    };
    Ok(Some((op, Integer)))
}

fn count(name: &str, kind: Type, shift_amount: bool) -> Option<LaneFn> {
    Some(match (name, kind, shift_amount) {
        ("popc", B32, _) => lane_fn!(u32 = |a: u32| a.count_ones()),
        ("popc", B64, _) => lane_fn!(u32 = |a: u64| a.count_ones()),
        ("clz", B32, _) => lane_fn!(u32 = |a: u32| a.leading_zeros()),
        ("clz", B64, _) => lane_fn!(u32 = |a: u64| a.leading_zeros()),
        ("bfind", U32, false) => lane_fn!(u32 = |a: u32| highest(u64::from(a), false, 32)),
        ("bfind", U64, false) => lane_fn!(u32 = |a: u64| highest(a, false, 64)),
        ("bfind", S32, false) => lane_fn!(u32 = |a: u32| highest(u64::from(a), true, 32)),
        ("bfind", S64, false) => lane_fn!(u32 = |a: u64| highest(a, true, 64)),
        ("bfind", U32, true) => {
            lane_fn!(u32 = |a: u32| above(highest(u64::from(a), false, 32), 32))
        }
        ("bfind", U64, true) => lane_fn!(u32 = |a: u64| above(highest(a, false, 64), 64)),
        ("bfind", S32, true) => lane_fn!(u32 = |a: u32| above(highest(u64::from(a), true, 32), 32)),
        ("bfind", S64, true) => lane_fn!(u32 = |a: u64| above(highest(a, true, 64), 64)),
        _ => return None,
    })
}

/// The highest bit that differs from the sign; all ones if none does.
#[inline]
fn highest(value: u64, signed: bool, width: u32) -> u32 {
    let negative = signed && value >> (width - 1) & 1 == 1;
    let value = if negative { !value & u64::MAX >> (64 - width) } else { value };
    value.checked_ilog2().unwrap_or(u32::MAX)
}

/// The shift that brings a bit to the top.
#[inline]
fn above(bit: u32, width: u32) -> u32 {
    if bit == u32::MAX { bit } else { width - 1 - bit }
}

/// A field of `length` bits from bit `position`, both taken modulo 256; signed fields are extended
/// with their highest bit, or the value's where they reach beyond it.
fn field(value: u64, position: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (position, length) = (position & 255, length & 255);
    let top = (position + length).min(width) as i64 - 1;
    let fill = signed
        && length > 0
        && value >> (if top < 0 { 0 } else { top }.min(i64::from(width) - 1)) & 1 == 1;
    let bits = value.checked_shr(position).unwrap_or(0);
    let kept = length.min(width.saturating_sub(position));
    let mask = if kept >= 64 { u64::MAX } else { (1 << kept) - 1 };
    bits & mask | if fill { !mask } else { 0 }
}

fn extract(kind: Type) -> Option<LaneFn> {
    Some(match kind {
        U32 => lane_fn!(u32 = |a: u32, p: u32, n: u32| field(u64::from(a), p, n, 32, false) as u32),
        S32 => lane_fn!(u32 = |a: u32, p: u32, n: u32| field(u64::from(a), p, n, 32, true) as u32),
        U64 => lane_fn!(u64 = |a: u64, p: u32, n: u32| field(a, p, n, 64, false)),
        S64 => lane_fn!(u64 = |a: u64, p: u32, n: u32| field(a, p, n, 64, true)),
        _ => return None,
    })
}

fn mask(name: &str, kind: Type, wrap: bool) -> Option<LaneFn> {
    Some(match (name, kind, wrap) {
        ("bmsk", B32, false) => lane_fn!(
            u32 = |a: u32, n: u32| {
                let ones = 1u64.checked_shl(n).map_or(u64::MAX, |bit| bit - 1);
                ones.checked_shl(a).unwrap_or(0) as u32
            }
        ),
        ("bmsk", B32, true) => {
            lane_fn!(u32 = |a: u32, n: u32| (((1u64 << (n & 31)) - 1) << (a & 31)) as u32)
        }
        ("szext", U32, true) => lane_fn!(u32 = |a: u32, n: u32| a & ((1 << (n & 31)) - 1)),
        ("szext", S32, true) => {
            lane_fn!(u32 = |a: u32, n: u32| field(u64::from(a), 0, n & 31, 32, true) as u32)
        }
        ("szext", U32, false) => {
            lane_fn!(u32 = |a: u32, n: u32| { if n >= 32 { a } else { a & ((1 << n) - 1) } })
        }
        ("szext", S32, false) => lane_fn!(
            u32 = |a: u32, n: u32| {
                if n >= 32 {
                    a
                } else if n == 0 {
                    0
                } else {
                    ((a << (32 - n)) as i32 >> (32 - n)) as u32
                }
            }
        ),
        _ => return None,
    })
}

fn funnel(left: bool, wrap: bool) -> LaneFn {
    // The first operand holds the lower word.
    match (left, wrap) {
        (true, true) => lane_fn!(
            u32 = |a: u32, b: u32, n: u32| {
                ((u64::from(b) << 32 | u64::from(a)) << (n & 31) >> 32) as u32
            }
        ),
        (true, false) => lane_fn!(
            u32 = |a: u32, b: u32, n: u32| {
                ((u128::from(b) << 32 | u128::from(a)) << n.min(32) >> 32) as u32
            }
        ),
        (false, true) => lane_fn!(
            u32 = |a: u32, b: u32, n: u32| {
                ((u64::from(b) << 32 | u64::from(a)) >> (n & 31)) as u32
            }
        ),
        (false, false) => lane_fn!(
            u32 = |a: u32, b: u32, n: u32| {
                ((u64::from(b) << 32 | u64::from(a)) >> n.min(32)) as u32
            }
        ),
    }
}

/// Byte `selector & 7` of the pair; with bit 3, its sign in all bits.
#[inline]
fn pick(a: u32, b: u32, selector: u32) -> u32 {
    let pair = u64::from(b) << 32 | u64::from(a);
    let byte = (pair >> (8 * (selector & 7))) as u8;
    u32::from(if selector & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 })
}

#[inline]
fn picks(a: u32, b: u32, selectors: [u32; 4]) -> u32 {
    (0..4).fold(0, |word, i| word | pick(a, b, selectors[i]) << (8 * i))
}

fn permute(r: &Reader<'_, '_>) -> LaneFn {
    let mode = r
        .parts
        .iter()
        .find(|part| matches!(**part, "f4e" | "b4e" | "rc8" | "ecl" | "ecr" | "rc16"));
    match mode {
        None => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| {
                picks(a, b, [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15])
            }
        ),
        Some(&"f4e") => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| {
                let n = c & 3;
                picks(a, b, [n, n + 1, n + 2, n + 3])
            }
        ),
        Some(&"b4e") => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| {
                let n = c & 3;
                picks(a, b, [n, (n + 7) & 7, (n + 6) & 7, (n + 5) & 7])
            }
        ),
        Some(&"rc8") => lane_fn!(u32 = |a: u32, b: u32, c: u32| picks(a, b, [c & 3; 4])),
        Some(&"ecl") => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| {
                let n = c & 3;
                picks(a, b, [n, n.max(1), n.max(2), 3])
            }
        ),
        Some(&"ecr") => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| {
                let n = c & 3;
                picks(a, b, [0, n.min(1), n.min(2), n])
            }
        ),
        Some(_) => lane_fn!(
            u32 = |a: u32, b: u32, c: u32| {
                let n = 2 * (c & 1);
                picks(a, b, [n, n + 1, n, n + 1])
            }
        ),
    }
}

fn truth_table(r: &mut Reader<'_, '_>) -> Result<Op, crate::error::PtxError> {
    r.expect_count(5..=5)?;
    let table = r.immediate(4)? as u32;
    let slots = [r.result(0, false)?, r.source(1, B32)?, r.source(2, B32)?, r.source(3, B32)?];
    Ok(Op::TruthTable(table, slots))
}

fn insert(r: &mut Reader<'_, '_>, kind: Type) -> Result<Op, crate::error::PtxError> {
    r.expect_count(5..=5)?;
    let result = r.result(0, kind.is_wide())?;
    let (field, base) = (r.source(1, kind)?, r.source(2, kind)?);
    let (position, length) = (r.source(3, U32)?, r.source(4, U32)?);
    Ok(Op::InsertField { wide: kind.is_wide(), result, field, base, position, length })
}
