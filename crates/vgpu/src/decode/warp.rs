//! Exchange between the lanes of a warp (PTX ISA, "Parallel Synchronization" and `shfl`).

use super::Decoded;
use super::reader::Reader;
use crate::counters::InstructionClass::Warp;
use crate::error::PtxError;
use crate::program::{MatchKind, Op, ReduceKind, Shuffle, ShuffleMode, VoteKind};
use crate::ptx::ast::Operand;
use crate::ptx::types::Type::{B32, B64, S32, U32};

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    let op = match r.name() {
        "shfl" => shuffle(r)?,
        "vote" => vote(r)?,
        "match" => matching(r)?,
        "redux" => reduce(r)?,
        "activemask" => Op::ActiveMask(r.result(0, false)?),
        "elect" => {
            let Operand::Pair(lane, predicate) = r.operand(0)?.clone() else {
                return Err(r.error("two results expected"));
            };
            let result = r.target(&lane, false)?;
            let predicate = r.predicate_target(&predicate)?;
            let predicate = predicate.ok_or_else(|| r.error("a predicate expected"))?;
            Op::Elect { result, predicate, mask: r.source(1, B32)? }
        }
        _ => return Ok(None),
    };
    Ok(Some((op, Warp)))
}

fn shuffle(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let mode = if r.has("up") {
        ShuffleMode::Up
    } else if r.has("down") {
        ShuffleMode::Down
    } else if r.has("bfly") {
        ShuffleMode::Butterfly
    } else {
        ShuffleMode::Index
    };
    r.expect_count(5..=5)?;
    let (result, in_range) = match r.operand(0)?.clone() {
        Operand::Pair(value, predicate) => {
            (r.target(&value, false)?, r.predicate_target(&predicate)?)
        }
        other => (r.target(&other, false)?, None),
    };
    let result = result.ok_or_else(|| r.error("a register expected"))?;
    r.flow.own = true;
    let value = r.operand(1)?.clone();
    let value = r.value(&value, B32)?;
    let (lane, clamp, mask) = (r.source(2, B32)?, r.source(3, B32)?, r.source(4, B32)?);
    Ok(Op::Shuffle(Shuffle { mode, result, in_range, value, lane, clamp, mask }))
}

fn vote(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    r.expect_count(3..=3)?;
    let predicate = r.predicate(1)?;
    let mask = r.source(2, B32)?;
    let kind = if r.has("ballot") {
        VoteKind::Ballot(r.result(0, false)?)
    } else {
        let result = r.predicate_result(0)?;
        if r.has("all") {
            VoteKind::All(result)
        } else if r.has("any") {
            VoteKind::Any(result)
        } else {
            VoteKind::Uniform(result)
        }
    };
    Ok(Op::Vote { kind, predicate, mask })
}

fn matching(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    r.expect_count(3..=3)?;
    let kind = r.kind()?;
    let wide = kind == B64;
    let (result, predicate) = match r.operand(0)?.clone() {
        Operand::Pair(value, predicate) => {
            (r.target(&value, false)?, r.predicate_target(&predicate)?)
        }
        other => (r.target(&other, false)?, None),
    };
    let kind_of_match = if r.has("all") { MatchKind::All(predicate) } else { MatchKind::Any };
    let result = result.ok_or_else(|| r.error("a register expected"))?;
    let (value, mask) = (r.source(1, kind)?, r.source(2, B32)?);
    Ok(Op::Match { kind: kind_of_match, wide, result, value, mask })
}

fn reduce(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    r.expect_count(3..=3)?;
    let kind = r.kind()?;
    let operation = r.parts.iter().find_map(|part| {
        Some(match (*part, kind) {
            ("add", U32 | S32) => ReduceKind::Add,
            ("min", U32) => ReduceKind::MinUnsigned,
            ("max", U32) => ReduceKind::MaxUnsigned,
            ("min", S32) => ReduceKind::MinSigned,
            ("max", S32) => ReduceKind::MaxSigned,
            ("and", B32) => ReduceKind::And,
            ("or", B32) => ReduceKind::Or,
            ("xor", B32) => ReduceKind::Xor,
            _ => return None,
        })
    });
    let kind = operation.ok_or_else(|| r.error("no such operation on this target"))?;
    let (result, value) = (r.result(0, false)?, r.source(1, B32)?);
    Ok(Op::Reduce { kind, result, value, mask: r.source(2, B32)? })
}
