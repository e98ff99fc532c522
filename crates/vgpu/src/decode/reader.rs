//! Access to the operands and modifiers of one instruction.

use super::layout::Function;
use super::{Decoder, Op};
use crate::error::PtxError;
use crate::program::{Address, FALSE, Flow, Guard, LaneMask, Space, Special, TRUE};
use crate::ptx::ast::{self, Instruction, Operand};
use crate::ptx::types::Type;
use crate::registers::{Predicate, Slot};

/// Base of the generic addresses of a CTA's shared memory. Bits above those of host pointers tell
/// the windows apart.
pub(crate) const SHARED_WINDOW: u64 = 1 << 60;
/// Base of the generic addresses of a thread's local memory.
pub(crate) const LOCAL_WINDOW: u64 = 2 << 60;
/// Base of the generic addresses of the kernel's parameters.
pub(crate) const PARAM_WINDOW: u64 = 3 << 60;

pub(super) struct Reader<'r, 'm> {
    pub(super) decoder: &'r mut Decoder<'m>,
    pub(super) function: &'r Function<'r>,
    registers: &'r [u32],
    pub(super) instruction: &'r Instruction<'r>,
    /// The opcode's words.
    pub(super) parts: Vec<&'r str>,
    /// The types among them, in order.
    pub(super) types: Vec<Type>,
    pub(super) flow: Flow,
    /// Operations to run before this one.
    pub(super) before: Vec<Op>,
    /// Operations to run behind this one.
    pub(super) after: Vec<Op>,
}

impl<'r, 'm> Reader<'r, 'm> {
    pub(super) fn new(
        decoder: &'r mut Decoder<'m>,
        function: &'r Function<'r>,
        registers: &'r [u32],
        instruction: &'r Instruction<'r>,
    ) -> Self {
        let parts: Vec<_> = instruction.opcode.split('.').collect();
        let types = parts[1..].iter().filter_map(|part| Type::from_suffix(part)).collect();
        Self {
            decoder,
            function,
            registers,
            instruction,
            parts,
            types,
            flow: Flow::default(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> PtxError {
        let text = format!("{}: {}", self.instruction.opcode, message.into());
        PtxError::new(self.instruction.line, text)
    }

    pub(super) fn name(&self) -> &'r str {
        self.parts[0]
    }

    pub(super) fn has(&self, modifier: &str) -> bool {
        self.parts[1..].contains(&modifier)
    }

    /// The last type suffix.
    pub(super) fn kind(&self) -> Result<Type, PtxError> {
        self.types.last().copied().ok_or_else(|| self.error("no type"))
    }

    pub(super) fn count(&self) -> usize {
        self.instruction.operands.len()
    }

    pub(super) fn expect_count(
        &self,
        counts: std::ops::RangeInclusive<usize>,
    ) -> Result<(), PtxError> {
        if counts.contains(&self.count()) {
            return Ok(());
        }
        Err(self.error(format!("{} operands", self.count())))
    }

    pub(super) fn operand(&self, index: usize) -> Result<&'r Operand<'r>, PtxError> {
        let operands: &'r [Operand<'r>] = &self.instruction.operands;
        operands.get(index).ok_or_else(|| self.error(format!("operand {index} is missing")))
    }

    /// Type of a register.
    pub(super) fn register_type(&self, id: u32) -> Type {
        self.function.body.registers[id as usize]
    }

    pub(super) fn guard(&self) -> Result<Guard, PtxError> {
        let Some((register, negated)) = self.instruction.guard else { return Ok(Guard::ALWAYS) };
        let predicate = self.predicate_register(register)?;
        Ok(Guard { predicate, negated })
    }

    fn predicate_register(&self, id: u32) -> Result<Predicate, PtxError> {
        if self.register_type(id) != Type::Pred {
            return Err(self.error("a predicate expected"));
        }
        Ok(self.registers[id as usize] as Predicate)
    }

    /// A predicate that is read.
    pub(super) fn predicate(&mut self, index: usize) -> Result<Guard, PtxError> {
        let operand = self.operand(index)?.clone();
        self.predicate_operand(&operand)
    }

    pub(super) fn predicate_operand(&mut self, operand: &Operand<'_>) -> Result<Guard, PtxError> {
        match *operand {
            Operand::Register(id) | Operand::Negated(id) => {
                let predicate = self.predicate_register(id)?;
                self.flow.predicate_uses.push(predicate);
                Ok(Guard { predicate, negated: matches!(operand, Operand::Negated(_)) })
            }
            Operand::Integer(value) => {
                let predicate = if value == 0 { FALSE } else { TRUE };
                Ok(Guard { predicate, negated: false })
            }
            _ => Err(self.error("a predicate expected")),
        }
    }

    /// A predicate that is written.
    pub(super) fn predicate_result(&mut self, index: usize) -> Result<Predicate, PtxError> {
        let operand = self.operand(index)?.clone();
        self.predicate_target(&operand)?.ok_or_else(|| self.error("a predicate expected"))
    }

    /// A predicate that is written, or `_`.
    pub(super) fn predicate_target(
        &mut self,
        operand: &Operand<'_>,
    ) -> Result<Option<Predicate>, PtxError> {
        match *operand {
            Operand::Sink => Ok(None),
            Operand::Register(id) => {
                let predicate = self.predicate_register(id)?;
                self.flow.predicate_writes.push(predicate);
                Ok(Some(predicate))
            }
            _ => Err(self.error("a predicate register expected")),
        }
    }

    /// A register that is written, of 64 bits or fewer.
    pub(super) fn result(&mut self, index: usize, wide: bool) -> Result<Slot, PtxError> {
        let operand = self.operand(index)?.clone();
        self.target(&operand, wide)?.ok_or_else(|| self.error("a register expected"))
    }

    /// A register that is written, or `_`.
    pub(super) fn target(
        &mut self,
        operand: &Operand<'_>,
        wide: bool,
    ) -> Result<Option<Slot>, PtxError> {
        match *operand {
            Operand::Sink => Ok(None),
            Operand::Register(id) => {
                let slot = self.register(id, wide)?;
                self.flow.writes.push(slot);
                Ok(Some(slot))
            }
            _ => Err(self.error("a register expected")),
        }
    }

    fn register(&self, id: u32, wide: bool) -> Result<Slot, PtxError> {
        let kind = self.register_type(id);
        if kind == Type::Pred || kind.is_wide() != wide {
            let wanted = if wide { "64" } else { "at most 32" };
            return Err(self.error(format!("a register of {wanted} bits expected, not {kind:?}")));
        }
        Ok(self.registers[id as usize])
    }

    /// A value of a type that is computed with.
    pub(super) fn source(&mut self, index: usize, kind: Type) -> Result<Slot, PtxError> {
        let operand = self.operand(index)?.clone();
        let slot = self.value(&operand, kind)?;
        self.flow.uses.push(slot);
        Ok(slot)
    }

    /// A value of a type that is only moved.
    pub(super) fn moved(&mut self, operand: &Operand<'_>, kind: Type) -> Result<Slot, PtxError> {
        let slot = self.value(operand, kind)?;
        self.flow.moves.push(slot);
        Ok(slot)
    }

    /// A register or immediate of a type, without a note that it is read.
    pub(super) fn value(&mut self, operand: &Operand<'_>, kind: Type) -> Result<Slot, PtxError> {
        let wide = kind.is_wide();
        match *operand {
            Operand::Register(id) => self.register(id, wide),
            Operand::Integer(value) => {
                let bits = (kind.bytes().clamp(1, 8)) * 8;
                Ok(self.decoder.constant(value as u64 & u64::MAX >> (64 - bits), wide))
            }
            Operand::Float(value, bits) => {
                let code = match kind.bytes() {
                    8 => value.to_bits(),
                    4 => u64::from(bits.unwrap_or((value as f32).to_bits())),
                    _ => return Err(self.error("a floating-point literal of 16 bits")),
                };
                Ok(self.decoder.constant(code, wide))
            }
            Operand::Special(name) => self.special(name, wide),
            Operand::Local(..) | Operand::Symbol(..) => {
                let address = self.symbol(operand)?.0;
                Ok(self.decoder.constant(address, wide))
            }
            _ => Err(self.error(format!("operand {operand:?} where a value is expected"))),
        }
    }

    fn special(&mut self, name: &str, wide: bool) -> Result<Slot, PtxError> {
        let axis = |letter: &str| ["x", "y", "z"].iter().position(|axis| *axis == letter);
        let (base, letter) = name.rsplit_once('.').unwrap_or((name, ""));
        let special = match (base, axis(letter)) {
            ("%tid", Some(axis)) => Special::Tid(axis),
            ("%ntid", Some(axis)) => Special::Ntid(axis),
            ("%ctaid" | "%clusterid", Some(axis)) => Special::Ctaid(axis),
            ("%nctaid" | "%nclusterid", Some(axis)) => Special::Nctaid(axis),
            ("%cluster_ctaid", Some(_)) => Special::Zero,
            ("%cluster_nctaid", Some(_)) => Special::One,
            _ => match name {
                "%laneid" => Special::LaneId,
                "%warpid" => Special::WarpId,
                "%nwarpid" => Special::WarpCount,
                "%smid" => Special::SmId,
                "%nsmid" => Special::SmCount,
                "%gridid" if !wide => Special::GridId,
                "%lanemask_eq" => Special::LaneMask(LaneMask::Eq),
                "%lanemask_le" => Special::LaneMask(LaneMask::Le),
                "%lanemask_lt" => Special::LaneMask(LaneMask::Lt),
                "%lanemask_ge" => Special::LaneMask(LaneMask::Ge),
                "%lanemask_gt" => Special::LaneMask(LaneMask::Gt),
                "%dynamic_smem_size" => Special::DynamicShared,
                "%total_smem_size" => Special::TotalShared,
                "%cluster_ctarank" | "%is_explicit_cluster" => Special::Zero,
                "%cluster_nctarank" => Special::One,
                "WARP_SZ" => return Ok(self.decoder.constant(32, wide)),
                _ => return Err(self.error(format!("special register {name} is not supported"))),
            },
        };
        if wide {
            return Err(self.error(format!("{name} has 32 bits")));
        }
        Ok(self.decoder.special(special))
    }

    /// Address of a variable inside its space, and that space.
    pub(super) fn symbol(&self, operand: &Operand<'_>) -> Result<(u64, Space), PtxError> {
        match *operand {
            Operand::Local(id, addend) => {
                let space = match self.function.body.variables[id as usize].space {
                    ast::Space::Shared => Space::Shared,
                    _ => Space::Local,
                };
                let offset = self.decoder.layout.variable(self.function, id);
                Ok((u64::from(offset).wrapping_add_signed(addend), space))
            }
            Operand::Symbol(name, addend) => {
                let layout = &self.decoder.layout;
                let (address, space) = if let Some(offset) = layout.shared(name) {
                    (u64::from(offset), Space::Shared)
                } else if let Some(global) = self.decoder.globals.get(name) {
                    (global.address, Space::Global)
                } else if let Some(&offset) =
                    layout.parameters.get(name).filter(|_| self.function.is_entry)
                {
                    (u64::from(offset), Space::Param)
                } else {
                    return Err(self.error(format!("unknown name {name}")));
                };
                Ok((address.wrapping_add_signed(addend), space))
            }
            _ => Err(self.error("the name of a variable expected")),
        }
    }

    /// `[base + offset]`. For a variable, its space must be the one given or generic.
    pub(super) fn address(&mut self, index: usize) -> Result<(Address, Option<Space>), PtxError> {
        let Operand::Address(base, offset) = self.operand(index)?.clone() else {
            return Err(self.error(format!("operand {index} must be an address in brackets")));
        };
        match *base {
            Operand::Register(id) => {
                let wide = self.register_type(id).is_wide();
                let slot = self.register(id, wide)?;
                self.flow.uses.push(slot);
                Ok((Address { base: Some(slot), wide, offset }, None))
            }
            Operand::Integer(value) => {
                let offset = value.wrapping_add(offset);
                Ok((Address { base: None, wide: true, offset }, None))
            }
            ref symbol => {
                let (address, space) = self.symbol(symbol)?;
                let offset = (address as i64).wrapping_add(offset);
                Ok((Address { base: None, wide: true, offset }, Some(space)))
            }
        }
    }

    /// The instruction that a label names.
    pub(super) fn label(&self, index: usize) -> Result<u32, PtxError> {
        let Operand::Symbol(name, 0) = *self.operand(index)? else {
            return Err(self.error("a label expected"));
        };
        let found = self.function.body.label(self.instruction.scope, name);
        found.map(|at| at as u32).ok_or_else(|| self.error(format!("unknown label {name}")))
    }

    /// A whole number known at decoding.
    pub(super) fn immediate(&self, index: usize) -> Result<i64, PtxError> {
        match *self.operand(index)? {
            Operand::Integer(value) => Ok(value),
            _ => Err(self.error(format!("operand {index} must be a number"))),
        }
    }

    /// The parts of a list operand, or the operand itself.
    pub(super) fn list(&self, index: usize) -> Result<Vec<Operand<'r>>, PtxError> {
        Ok(match self.operand(index)? {
            Operand::List(items) => items.clone(),
            other => vec![other.clone()],
        })
    }
}
