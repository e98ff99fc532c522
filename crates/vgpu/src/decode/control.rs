//! Control flow, barriers and fences (PTX ISA, "Control Flow" and "Parallel Synchronization").

use super::Decoded;
use super::layout::{BUILT_IN, callee};
use super::reader::Reader;
use crate::counters::InstructionClass::{Barrier as BarrierClass, Control, Warp};
use crate::error::PtxError;
use crate::program::{Barrier, BarrierUse, FenceKind, Logic, Op};
use crate::ptx::ast::Operand;
use crate::ptx::types::Type::{B32, U32};

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    let class = Control;
    let op = match r.name() {
        "bra" => Op::Branch(r.label(0)?),
        "ret" | "exit" => {
            if r.function.is_entry || r.name() == "exit" {
                Op::Exit
            } else {
                Op::Return(r.decoder.layout.entries[r.function.name].return_to)
            }
        }
        "trap" => Op::Trap("trap"),
        "brkpt" => Op::Trap("brkpt"),
        "call" => call(r)?,
        "bar" | "barrier" => return barrier(r),
        "membar" | "fence" => return Ok(Some((Op::Fence(fence(r)), BarrierClass))),
        "griddepcontrol" | "nanosleep" | "pmevent" | "setmaxnreg" => Op::Hint,
        _ => return Ok(None),
    };
    Ok(Some((op, class)))
}

fn call(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let name = callee(r.instruction).ok_or_else(|| r.error("indirect calls are not supported"))?;
    if BUILT_IN.contains(&name) {
        return Ok(Op::Trap(match name {
            "vprintf" => "printf is not supported",
            _ => "device-side assertion",
        }));
    }
    let places = |operand: Option<&Operand<'_>>| -> Result<Vec<u32>, PtxError> {
        let Some(Operand::List(items)) = operand else { return Ok(Vec::new()) };
        items
            .iter()
            .map(|item| match item {
                Operand::Local(id, 0) => Ok(r.decoder.layout.variable(r.function, *id)),
                _ => Err(r.error("arguments must be .param variables")),
            })
            .collect()
    };
    let operands = &r.instruction.operands;
    let at = operands.iter().position(|o| matches!(o, Operand::Symbol(..))).unwrap_or(0);
    let results = places(if at == 0 { None } else { operands.first() })?;
    let arguments = places(operands.get(at + 1))?;
    let entry = r.decoder.layout.entries[name].clone();
    if results.len() != entry.returns.len() || arguments.len() != entry.parameters.len() {
        return Err(r.error(format!("wrong number of arguments for {name}")));
    }
    for (from, &(to, bytes)) in arguments.into_iter().zip(&entry.parameters) {
        r.before.push(Op::CopyLocal { from, to, bytes });
    }
    for (to, &(from, bytes)) in results.into_iter().zip(&entry.returns) {
        r.after.push(Op::CopyLocal { from, to, bytes });
    }
    Ok(Op::Call { target: entry.start, return_to: entry.return_to })
}

fn barrier(r: &mut Reader<'_, '_>) -> Decoded {
    if r.has("warp") {
        return Ok(Some((Op::WarpSync { mask: r.source(0, B32)? }, Warp)));
    }
    let usage;
    let (id, threads);
    if r.has("red") {
        let last = r.count() - 1;
        let predicate = r.predicate(last)?;
        usage = match ["and", "or"].iter().position(|word| r.has(word)) {
            None => BarrierUse::Count { predicate, result: r.result(0, false)? },
            Some(which) => BarrierUse::Reduce {
                logic: [Logic::And, Logic::Or][which],
                predicate,
                result: r.predicate_result(0)?,
            },
        };
        id = r.source(1, U32)?;
        threads = if last > 2 { Some(r.source(2, U32)?) } else { None };
    } else {
        usage = if r.has("arrive") { BarrierUse::Arrive } else { BarrierUse::Sync };
        id = r.source(0, U32)?;
        threads = if r.count() > 1 { Some(r.source(1, U32)?) } else { None };
        if usage == BarrierUse::Arrive && threads.is_none() {
            return Err(r.error("the number of threads is missing"));
        }
    }
    Ok(Some((Op::Barrier(Barrier { id, threads, usage }), BarrierClass)))
}

fn fence(r: &Reader<'_, '_>) -> FenceKind {
    if r.has("mbarrier_init") {
        FenceKind::MbarrierInit
    } else if r.has("proxy") {
        FenceKind::Proxy { shared: !r.has("global"), global: !r.has("shared::cta") }
    } else if r.has("cta") || r.has("cluster") {
        // A cluster is one CTA here.
        FenceKind::Block
    } else {
        FenceKind::Device
    }
}
