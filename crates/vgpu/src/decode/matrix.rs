//! Tensor products and matrix moves (PTX ISA, "Warp Level Matrix Instructions").

use super::Decoded;
use super::reader::Reader;
use crate::counters::InstructionClass::{Shared, Tensor};
use crate::error::PtxError;
use crate::program::{Element, MatrixMove, Mma, Op};
use crate::ptx::types::Type;
use crate::registers::Slot;

pub(super) fn decode(r: &mut Reader<'_, '_>) -> Decoded {
    match r.name() {
        "mma" => mma(r).map(|op| Some((op, Tensor))),
        "ldmatrix" | "stmatrix" => matrix_move(r).map(|op| Some((op, Shared))),
        _ => Ok(None),
    }
}

fn element(kind: Type) -> Option<Element> {
    Some(match kind {
        Type::F16 => Element::F16,
        Type::Bf16 => Element::Bf16,
        Type::Tf32 => Element::Tf32,
        Type::E4m3 => Element::E4m3,
        Type::E5m2 => Element::E5m2,
        Type::S8 => Element::S8,
        Type::U8 => Element::U8,
        _ => return None,
    })
}

/// All shapes have m = 16 and n = 8; C is of D's type.
fn mma(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let k = ["m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"].iter().position(|shape| r.has(shape));
    let k = 4 << k.ok_or_else(|| r.error("this shape is not supported"))?;
    let &[d, a, b, _] = r.types.as_slice() else { return Err(r.error("four types expected")) };
    let formats = element(a).zip(element(b));
    let (a_format, b_format) = formats.ok_or_else(|| r.error("no such element type"))?;
    let half_accumulator = d == Type::F16;
    let saturate = r.has("satfinite");
    let accumulators = if half_accumulator { 2 } else { 4 };
    let a_registers = 16 * k * a_format.bits() as usize / 32 / 32;
    let d = registers(r, 0, accumulators, true)?;
    let a = registers(r, 1, a_registers, false)?;
    let b = registers(r, 2, a_registers / 2, false)?;
    let c = registers(r, 3, accumulators, false)?;
    let product = Mma { k, a_format, b_format, half_accumulator, saturate, d, a, b, c };
    Ok(Op::Mma(Box::new(product)))
}

fn registers(
    r: &mut Reader<'_, '_>,
    index: usize,
    count: usize,
    written: bool,
) -> Result<Vec<Slot>, PtxError> {
    let list = r.list(index)?;
    if list.len() != count {
        return Err(r.error(format!("{count} registers expected, not {}", list.len())));
    }
    let mut slots = Vec::with_capacity(count);
    for operand in &list {
        if written {
            let slot = r.target(operand, false)?;
            slots.push(slot.ok_or_else(|| r.error("a register expected"))?);
        } else {
            let slot = r.value(operand, Type::B32)?;
            r.flow.uses.push(slot);
            slots.push(slot);
        }
    }
    Ok(slots)
}

fn matrix_move(r: &mut Reader<'_, '_>) -> Result<Op, PtxError> {
    let count = ["x1", "x2", "x4"].iter().position(|word| r.has(word));
    let count = 1 << count.ok_or_else(|| r.error("no count"))?;
    let store = r.name() == "stmatrix";
    let space = super::memory::space(r)?;
    let (at, values) = if store { (0, 1) } else { (1, 0) };
    let (address, _) = r.address(at)?;
    let registers = registers(r, values, count, !store)?;
    if !store {
        r.flow.own = true;
    }
    let transposed = r.has("trans");
    Ok(Op::MatrixMove(MatrixMove { store, transposed, address, space, registers }))
}
