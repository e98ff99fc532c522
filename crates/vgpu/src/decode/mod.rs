//! From instructions as written to instructions as executed.
//!
//! One file per family of the PTX ISA. Whatever is not known is an error that names the line.

mod control;
mod convert;
mod copies;
mod float;
mod integer;
mod layout;
mod matrix;
mod memory;
pub(crate) mod reader;
mod syntax;
mod warp;
pub(crate) use integer::wide_products;
pub use syntax::forms;

use std::collections::HashMap;

use self::layout::{Function, Layout};
use self::reader::Reader;
use crate::counters::InstructionClass;
use crate::error::PtxError;
use crate::kernel::{Global, Parameter};
use crate::program::{Flow, Guard, Instruction, Op, Program, Special};
use crate::ptx::ast;
use crate::registers::Slot;

/// What a family's decoder returns: nothing if the opcode is not of its family.
type Decoded = Result<Option<(Op, InstructionClass)>, PtxError>;

/// State shared by all functions of a kernel.
pub(crate) struct Decoder<'m> {
    globals: &'m HashMap<String, Global>,
    layout: Layout,
    code: Vec<Instruction>,
    constants: HashMap<(u64, bool), Slot>,
    specials: HashMap<Special, Slot>,
    blocks: usize,
    predicates: usize,
}

impl Decoder<'_> {
    fn new_slot(&mut self, wide: bool) -> Slot {
        let slot = self.blocks as Slot;
        self.blocks += if wide { 2 } else { 1 };
        slot
    }

    fn constant(&mut self, value: u64, wide: bool) -> Slot {
        if let Some(&slot) = self.constants.get(&(value, wide)) {
            return slot;
        }
        let slot = self.new_slot(wide);
        self.constants.insert((value, wide), slot);
        slot
    }

    fn special(&mut self, special: Special) -> Slot {
        if let Some(&slot) = self.specials.get(&special) {
            return slot;
        }
        let slot = self.new_slot(false);
        self.specials.insert(special, slot);
        slot
    }

    /// Adds an instruction that the text does not have but a call needs.
    fn emit(&mut self, op: Op, guard: Guard, at: &ast::Instruction<'_>) {
        self.code.push(Instruction {
            step: op.step(),
            op,
            guard,
            class: InstructionClass::Control,
            line: at.line,
            source: at.source,
            opcode: at.opcode.into(),
            flow: Flow::default(),
        });
    }
}

/// Decodes a kernel with all functions that it calls.
pub(crate) fn kernel(
    module: &ast::Module,
    name: &str,
    globals: &HashMap<String, Global>,
) -> Result<Program, PtxError> {
    let entry = module
        .function(name)
        .filter(|function| function.is_entry)
        .ok_or_else(|| PtxError::new(0, format!("the module has no kernel {name}")))?;
    let functions = layout::reachable(module, entry)?;
    let (parameters, parameter_bytes) = parameters(entry);
    let layout = Layout::new(module, &functions, &parameters);
    let mut decoder = Decoder {
        globals,
        layout,
        code: Vec::new(),
        constants: HashMap::new(),
        specials: HashMap::new(),
        blocks: 1,
        predicates: 3,
    };
    for function in &functions {
        function_code(&mut decoder, function)?;
    }
    let entry_point = decoder.layout.entries[name].start;
    let constants = decoder.constants.iter().map(|(&(v, w), &slot)| (slot, v, w)).collect();
    Ok(Program {
        name: name.to_owned(),
        parameters,
        parameter_bytes,
        static_shared: decoder.layout.static_shared,
        local_bytes: decoder.layout.local_bytes,
        bounds: entry.bounds,
        entry: entry_point,
        code: decoder.code,
        blocks: decoder.blocks,
        predicates: decoder.predicates,
        constants,
        specials: decoder.specials.iter().map(|(&special, &slot)| (slot, special)).collect(),
        files: module.files.clone(),
    })
}

/// Offsets of an entry's parameters, each aligned to its own alignment.
fn parameters(entry: &ast::Function) -> (Vec<Parameter>, usize) {
    let mut end = 0usize;
    let mut list = Vec::new();
    for declared in &entry.parameters {
        let offset = end.next_multiple_of(declared.align.max(1));
        end = offset + declared.bytes;
        let (name, bytes, align) = (declared.name.clone(), declared.bytes, declared.align);
        list.push(Parameter { name, offset, bytes, align });
    }
    (list, end)
}

fn function_code(decoder: &mut Decoder<'_>, function: &Function<'_>) -> Result<(), PtxError> {
    let start = decoder.code.len() as u32;
    let return_to = decoder.new_slot(false);
    decoder.layout.enter(function, start, return_to);
    let mut registers = Vec::with_capacity(function.body.registers.len());
    for &kind in &function.body.registers {
        registers.push(match kind {
            crate::ptx::types::Type::Pred => {
                decoder.predicates += 1;
                decoder.predicates as u32 - 1
            }
            crate::ptx::types::Type::B128 => {
                let line = function.body.instructions.first().map_or(0, |i| i.line);
                return Err(PtxError::new(line, "registers of 128 bits are not supported"));
            }
            _ => decoder.new_slot(kind.is_wide()),
        });
    }
    // Code position of each instruction as written, and the branches to resolve with them.
    let mut positions = Vec::with_capacity(function.body.instructions.len() + 1);
    for instruction in &function.body.instructions {
        positions.push(decoder.code.len() as u32);
        decode_one(decoder, function, &registers, instruction)?;
    }
    positions.push(decoder.code.len() as u32);
    if let Some(last) = function.body.instructions.last() {
        let end = if function.is_entry { Op::Exit } else { Op::Return(return_to) };
        decoder.emit(end, Guard::ALWAYS, last);
    }
    for instruction in &mut decoder.code[start as usize..] {
        if let Op::Branch(target) = &mut instruction.op {
            *target = positions[*target as usize];
        }
    }
    Ok(())
}

fn decode_one(
    decoder: &mut Decoder<'_>,
    function: &Function<'_>,
    registers: &[u32],
    instruction: &ast::Instruction<'_>,
) -> Result<(), PtxError> {
    let mut reader = Reader::new(decoder, function, registers, instruction);
    if let Some(why) = syntax::refusal(&reader.parts) {
        return Err(reader.error(why));
    }
    let guard = reader.guard()?;
    let families = [
        integer::decode,
        float::decode,
        convert::decode,
        memory::decode,
        control::decode,
        warp::decode,
        matrix::decode,
        copies::decode,
    ];
    for family in families {
        if let Some((op, class)) = family(&mut reader)? {
            let flow = std::mem::take(&mut reader.flow);
            let before = std::mem::take(&mut reader.before);
            let after = std::mem::take(&mut reader.after);
            for op in before {
                decoder.emit(op, guard, instruction);
            }
            decoder.code.push(Instruction {
                step: op.step(),
                op,
                guard,
                class,
                line: instruction.line,
                source: instruction.source,
                opcode: instruction.opcode.into(),
                flow,
            });
            for op in after {
                decoder.emit(op, guard, instruction);
            }
            return Ok(());
        }
    }
    Err(PtxError::new(
        instruction.line,
        format!("instruction {} is not supported", instruction.opcode),
    ))
}
