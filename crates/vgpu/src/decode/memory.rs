//! Loads, stores, atomics (PTX ISA, "Data Movement" and "Parallel Synchronization").

use super::Decoded;
use super::reader::Reader;
use crate::counters::InstructionClass::{self, Global, Other, Shared};
use crate::error::PtxError;
use crate::program::{Access, Atomic, AtomicKind, Op, Ordering, Space};
use crate::ptx::ast::Operand;
use crate::ptx::types::Type;

/// The space among an instruction's modifiers; generic without one.
pub(super) fn space(r: &Reader<'_, '_>) -> Result<Space, PtxError> {
    for part in &r.parts[1..] {
        return Ok(match *part {
            "global" => Space::Global,
            "const" => Space::Const,
            "shared" | "shared::cta" => Space::Shared,
            "local" => Space::Local,
            "param" | "param::entry" | "param::func" => Space::Param,
            "shared::cluster" => {
                return Err(r.error("shared memory of other CTAs is not supported"));
            }
            _ => continue,
        });
    }
    Ok(Space::Generic)
}

/// The ordering that modifiers ask for.
fn ordering(r: &Reader<'_, '_>, atomic: bool) -> Ordering {
    let both = r.has("acq_rel");
    Ordering {
        acquire: both || r.has("acquire"),
        release: both || r.has("release"),
        strong: atomic
            || ["relaxed", "acquire", "release", "volatile", "mmio"].iter().any(|word| r.has(word)),
    }
}

fn class(space: Space) -> InstructionClass {
    match space {
        Space::Shared => Shared,
        Space::Global | Space::Generic => Global,
        _ => Other,
    }
}

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    match r.name() {
        "ld" | "ldu" => load(r).map(Some),
        "st" => store(r).map(Some),
        "atom" | "red" => atomic(r).map(Some),
        "prefetch" | "prefetchu" | "applypriority" | "discard" => Ok(Some((Op::Hint, Other))),
        "createpolicy" => {
            let result = r.result(0, true)?;
            let zero = r.decoder.constant(0, true);
            let run = crate::registers::lane_fn!(u64 = |a: u64| a);
            Ok(Some((Op::Lanes(run, [result, zero, 0, 0]), Other)))
        }
        _ => Ok(None),
    }
}

/// An access with the space of the variable that it names. A parameter of a called function and
/// arguments of a call lie in the frame.
fn access(r: &mut Reader<'_, '_>, at: usize, values: usize) -> Result<Access, PtxError> {
    let kind = r.kind()?;
    if kind.bytes() > 8 || kind == Type::Pred {
        return Err(r.error("no such type"));
    }
    let mut space = space(r)?;
    let (address, named) = r.address(at)?;
    match (space, named) {
        (Space::Param, Some(Space::Local)) => space = Space::Local,
        (Space::Param, None) if !r.function.is_entry => space = Space::Local,
        (_, Some(found)) if space != found && space != Space::Generic => {
            let both = matches!((space, found), (Space::Const, Space::Global));
            if !both {
                return Err(r.error(format!("a variable in {found:?} memory")));
            }
        }
        (Space::Generic, Some(found)) => space = found,
        _ => {}
    }
    let list = r.list(values)?;
    let wide = list.iter().any(|operand| match operand {
        Operand::Register(id) => r.register_type(*id).is_wide(),
        _ => kind.is_wide(),
    });
    let register_mask = match list.first() {
        Some(Operand::Register(id)) if r.register_type(*id).bytes() <= 2 => 0xffff,
        _ => u64::MAX,
    };
    let ordering = ordering(r, false);
    Ok(Access { space, address, kind, values: Vec::new(), wide, register_mask, ordering })
}

fn check_width(r: &Reader<'_, '_>, count: usize, kind: Type) -> Result<(), PtxError> {
    let named = ["v2", "v4", "v8"].iter().position(|word| r.has(word)).map_or(1, |i| 2 << i);
    if named != count || count as u32 * kind.bytes() > 32 {
        return Err(r.error(format!("{count} values of {} bytes", kind.bytes())));
    }
    Ok(())
}

fn load(r: &mut Reader<'_, '_>) -> Result<(Op, InstructionClass), PtxError> {
    let mut access = access(r, 1, 0)?;
    let list = r.list(0)?;
    check_width(r, list.len(), access.kind)?;
    for operand in &list {
        access.values.push(r.target(operand, access.wide)?);
    }
    r.flow.own = true;
    let class = class(access.space);
    Ok((Op::Load(access), class))
}

fn store(r: &mut Reader<'_, '_>) -> Result<(Op, InstructionClass), PtxError> {
    let mut access = access(r, 0, 1)?;
    let list = r.list(1)?;
    check_width(r, list.len(), access.kind)?;
    for operand in &list {
        let kind = if access.wide { Type::B64 } else { Type::B32 };
        let kind = if access.wide == access.kind.is_wide() { access.kind } else { kind };
        access.values.push(Some(r.value(operand, kind)?));
    }
    let class = class(access.space);
    Ok((Op::Store(access), class))
}

fn atomic_kind(r: &Reader<'_, '_>) -> Result<AtomicKind, PtxError> {
    let found = r.parts[1..].iter().find_map(|part| {
        Some(match *part {
            "add" => AtomicKind::Add,
            "min" => AtomicKind::Min,
            "max" => AtomicKind::Max,
            "and" => AtomicKind::And,
            "or" => AtomicKind::Or,
            "xor" => AtomicKind::Xor,
            "exch" => AtomicKind::Exchange,
            "cas" => AtomicKind::CompareExchange,
            "inc" => AtomicKind::Increment,
            "dec" => AtomicKind::Decrement,
            _ => return None,
        })
    });
    found.ok_or_else(|| r.error("no operation"))
}

fn atomic(r: &mut Reader<'_, '_>) -> Result<(Op, InstructionClass), PtxError> {
    let (value, kind) = (r.kind()?, atomic_kind(r)?);
    let first = usize::from(r.name() == "atom");
    let (address, named) = r.address(first)?;
    let space = match (space(r)?, named) {
        (Space::Generic, Some(found)) => found,
        (space, _) => space,
    };
    let (mut result, mut operands) = (Vec::new(), Vec::new());
    if first == 1 {
        for operand in r.list(0)? {
            result.push(r.target(&operand, value.is_wide())?);
        }
    }
    for operand in r.list(first + 1)? {
        let slot = r.value(&operand, value)?;
        r.flow.uses.push(slot);
        operands.push(slot);
    }
    let mut compare = None;
    if kind == AtomicKind::CompareExchange {
        compare = operands.pop();
        operands.push(r.source(first + 2, value)?);
    }
    check_width(r, operands.len(), value)?;
    let ordering = ordering(r, true);
    let class = if space == Space::Shared { Shared } else { Global };
    Ok((
        Op::Atomic(Atomic { space, address, kind, value, result, operands, compare, ordering }),
        class,
    ))
}
