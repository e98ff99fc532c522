//! Asynchronous copies and mbarriers (PTX ISA, "Asynchronous Copy" and "mbarrier").

use super::Decoded;
use super::memory::space;
use super::reader::Reader;
use crate::counters::InstructionClass::{Async, Barrier};
use crate::error::PtxError;
use crate::program::{CopyAsync, CopyBulk, Mbarrier, MbarrierKind, Op, Space};
use crate::ptx::ast::Operand;
use crate::ptx::types::Type::{B32, B64, Pred, U32};

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    match r.name() {
        "cp" if r.has("mbarrier") => after_copies(r).map(|op| Some((op, Async))),
        "cp" if r.has("bulk") => bulk(r).map(|op| Some((op, Async))),
        "cp" => copy(r).map(|op| Some((op, Async))),
        "mbarrier" => mbarrier(r).map(|op| Some((op, Barrier))),
        _ => Ok(None),
    }
}

fn copy(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    if r.has("commit_group") {
        return Ok(Op::CommitCopies);
    }
    if r.has("wait_all") {
        return Ok(Op::WaitCopies { pending: None });
    }
    if r.has("wait_group") {
        return Ok(Op::WaitCopies { pending: Some(r.immediate(0)? as u32) });
    }
    r.expect_count(3..=5)?;
    let (to, _) = r.address(0)?;
    let (from, _) = r.address(1)?;
    let bytes = r.immediate(2)? as u32;
    let allowed: &[u32] = if r.has("cg") { &[16] } else { &[4, 8, 16] };
    if !allowed.contains(&bytes) {
        return Err(r.error(format!("{bytes} bytes, not one of {allowed:?}")));
    }
    let (mut source_bytes, mut ignore) = (None, None);
    let hint = usize::from(r.has("L2::cache_hint"));
    if r.count() - hint == 4 {
        let operand = r.operand(3)?.clone();
        let is_predicate = matches!(operand, Operand::Negated(_))
            || matches!(operand, Operand::Register(id) if r.register_type(id) == Pred);
        if is_predicate {
            ignore = Some(r.predicate(3)?);
        } else {
            source_bytes = Some(r.source(3, U32)?);
        }
    }
    Ok(Op::CopyAsync(CopyAsync { to, from, bytes, source_bytes, ignore }))
}

fn after_copies(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let space = space(r)?;
    let (address, _) = r.address(0)?;
    let kind = MbarrierKind::ArriveAfterCopies { no_increment: r.has("noinc") };
    Ok(Op::Mbarrier(Mbarrier { kind, space, address }))
}

fn bulk(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    if r.has("commit_group") {
        return Ok(Op::CommitBulk);
    }
    if r.has("wait_group") {
        return Ok(Op::WaitBulk { pending: r.immediate(0)? as u32, read: r.has("read") });
    }
    if r.has("prefetch") {
        return Ok(Op::Hint);
    }
    // The second word of the pair of spaces is the source.
    let spaces: Vec<_> =
        r.parts.iter().filter(|p| p.starts_with("shared") || **p == "global").collect();
    let to_shared = match spaces.as_slice() {
        [to, from] if to.starts_with("shared") && **from == "global" => true,
        [to, from] if **to == "global" && **from == "shared::cta" => false,
        _ => return Err(r.error("only copies between global and shared memory are supported")),
    };
    let (to, _) = r.address(0)?;
    let (from, _) = r.address(1)?;
    let bytes = r.source(2, U32)?;
    let mbarrier = match (to_shared, r.has("mbarrier::complete_tx::bytes")) {
        (true, true) => Some(r.address(3)?.0),
        (false, false) if r.has("bulk_group") => None,
        _ => return Err(r.error("no such completion mechanism for this direction")),
    };
    Ok(Op::CopyBulk(CopyBulk { to, from, bytes, mbarrier }))
}

fn mbarrier(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let space = space(r)?;
    let name = r.parts[1];
    if name == "pending_count" {
        let kind =
            MbarrierKind::PendingCount { state: r.source(1, B64)?, result: r.result(0, false)? };
        let address = crate::program::Address { base: None, wide: true, offset: 0 };
        return Ok(Op::Mbarrier(Mbarrier { kind, space: Space::Shared, address }));
    }
    let results = usize::from(!matches!(name, "init" | "inval" | "expect_tx" | "complete_tx"));
    let (address, _) = r.address(results)?;
    let kind = match name {
        "init" => MbarrierKind::Init { count: r.source(1, U32)? },
        "inval" => MbarrierKind::Invalidate,
        "expect_tx" => MbarrierKind::Expect { bytes: r.source(1, U32)? },
        "complete_tx" => MbarrierKind::Complete { bytes: r.source(1, U32)? },
        "arrive" | "arrive_drop" => {
            let operand = r.operand(0)?.clone();
            let state = r.target(&operand, true)?;
            if r.has("expect_tx") {
                if name == "arrive_drop" {
                    return Err(r.error("not supported"));
                }
                MbarrierKind::ArriveExpect { bytes: r.source(2, U32)?, state }
            } else {
                let count = if r.count() > 2 { Some(r.source(2, U32)?) } else { None };
                MbarrierKind::Arrive { count, state, drop: name == "arrive_drop" }
            }
        }
        "test_wait" | "try_wait" => {
            let result = r.predicate_result(0)?;
            // A third operand of `try_wait` bounds the time to wait, which a poll does not need.
            if r.has("parity") {
                MbarrierKind::WaitParity { parity: r.source(2, B32)?, result }
            } else {
                MbarrierKind::WaitState { state: r.source(2, B64)?, result }
            }
        }
        _ => return Err(r.error("not supported")),
    };
    Ok(Op::Mbarrier(Mbarrier { kind, space, address }))
}
