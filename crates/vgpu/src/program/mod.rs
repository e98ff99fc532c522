//! Decoded kernels: what execution reads.

mod operands;

use std::collections::HashMap;

pub(crate) use operands::*;

use crate::counters::InstructionClass;
use crate::kernel::Parameter;
use crate::numeric::{Conversion, FloatInstruction};
use crate::ptx::ast::Bounds;
use crate::ptx::types::Type;
use crate::registers::{LaneFn, Predicate, Slot};

/// A kernel with all functions that it calls, as one sequence of instructions.
///
/// Registers and parameters of called functions have fixed places of their own, since recursion is
/// refused. Callees stand before their callers, so that "lowest program counter first" finishes a
/// call before the lanes that did not take part go on.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) parameter_bytes: usize,
    pub(crate) static_shared: u32,
    pub(crate) local_bytes: u32,
    pub(crate) bounds: Bounds,
    pub(crate) entry: u32,
    pub(crate) code: Vec<Instruction>,
    pub(crate) blocks: usize,
    pub(crate) predicates: usize,
    /// Registers that hold immediates: place, value, whether 64 bits wide.
    pub(crate) constants: Vec<(Slot, u64, bool)>,
    /// Registers that hold special registers which do not change.
    pub(crate) specials: Vec<(Slot, Special)>,
    pub(crate) files: HashMap<u32, String>,
}

/// The predicate that is always true.
pub(crate) const TRUE: Predicate = 0;
/// The predicate that is always false.
pub(crate) const FALSE: Predicate = 1;
/// The carry flag.
pub(crate) const CARRY: Predicate = 2;

/// Special registers whose value is fixed for a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    LaneId,
    WarpId,
    WarpCount,
    SmId,
    SmCount,
    GridId,
    LaneMask(LaneMask),
    DynamicShared,
    TotalShared,
    /// Position in, and size of, a cluster of one CTA.
    Zero,
    One,
}

/// The lanes before, at or behind a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LaneMask {
    Eq,
    Le,
    Lt,
    Ge,
    Gt,
}

/// A decoded instruction with what faults and checks need to know about it.
pub(crate) struct Instruction {
    pub(crate) op: Op,
    pub(crate) step: Step,
    pub(crate) guard: Guard,
    pub(crate) class: InstructionClass,
    pub(crate) line: u32,
    pub(crate) source: Option<(u32, u32)>,
    pub(crate) opcode: Box<str>,
    pub(crate) flow: Flow,
}

/// How the loop over instructions treats one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Plain,
    Branch,
    /// Lanes must arrive together.
    Together,
    /// Ends a path or moves it elsewhere.
    Control,
}

/// A predicate, possibly negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guard {
    pub(crate) predicate: Predicate,
    pub(crate) negated: bool,
}

impl Guard {
    pub(crate) const ALWAYS: Self = Self { predicate: TRUE, negated: false };
}

/// Which registers an instruction reads and writes, for the check of undefined values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow {
    /// Registers whose value matters: undefined lanes are a fault.
    pub(crate) uses: Vec<Slot>,
    /// Registers that are only moved: undefined lanes make the destinations undefined.
    pub(crate) moves: Vec<Slot>,
    /// Registers written.
    pub(crate) writes: Vec<Slot>,
    pub(crate) predicate_uses: Vec<Predicate>,
    pub(crate) predicate_writes: Vec<Predicate>,
    /// The operation sets the destinations' state itself.
    pub(crate) own: bool,
}

/// What an instruction does.
pub(crate) enum Op {
    /// A plain function of each lane.
    Lanes(LaneFn, [Slot; 4]),
    /// The same, accurate only to within a documented error (see `numeric::approximate`).
    Approximate(LaneFn, [Slot; 4], crate::numeric::Accuracy),
    /// Floating point with any rounding, flushing and saturation.
    Float(FloatInstruction, [Slot; 4]),
    /// Sources of 16 bits (the first `narrow`) and of 32, computed in 32.
    MixedFloat {
        instruction: FloatInstruction,
        small: Type,
        narrow: usize,
        slots: [Slot; 4],
    },
    /// With the widths of source and result registers: whether they have 64 bits.
    Convert(Conversion, bool, bool, [Slot; 4]),
    Compare(Compare),
    /// `set`: comparison with a value for true as the result.
    SetCompare(Compare, Slot, u32),
    Select {
        wide: bool,
        result: Slot,
        a: Slot,
        b: Slot,
        predicate: Guard,
    },
    MovePredicate(Predicate, Guard),
    PredicateLogic(Logic, Predicate, Guard, Guard),
    Carry(Carry),
    /// `lop3`: a logic function of three inputs by its truth table.
    TruthTable(u32, [Slot; 4]),
    InsertField {
        wide: bool,
        result: Slot,
        field: Slot,
        base: Slot,
        position: Slot,
        length: Slot,
    },
    Pack {
        parts: Vec<Slot>,
        part_bits: u32,
        wide: bool,
        result: Slot,
    },
    Unpack {
        parts: Vec<Option<Slot>>,
        part_bits: u32,
        wide: bool,
        value: Slot,
    },
    Load(Access),
    Store(Access),
    Atomic(Atomic),
    Branch(u32),
    Call {
        target: u32,
        return_to: Slot,
    },
    Return(Slot),
    Exit,
    Trap(&'static str),
    /// Copies bytes between two places of every lane's frame.
    CopyLocal {
        from: u32,
        to: u32,
        bytes: u32,
    },
    Barrier(Barrier),
    WarpSync {
        mask: Slot,
    },
    Shuffle(Shuffle),
    Vote {
        kind: VoteKind,
        predicate: Guard,
        mask: Slot,
    },
    Match {
        kind: MatchKind,
        wide: bool,
        result: Slot,
        value: Slot,
        mask: Slot,
    },
    Reduce {
        kind: ReduceKind,
        result: Slot,
        value: Slot,
        mask: Slot,
    },
    ActiveMask(Slot),
    Elect {
        result: Option<Slot>,
        predicate: Predicate,
        mask: Slot,
    },
    Mma(Box<Mma>),
    MatrixMove(MatrixMove),
    CopyAsync(CopyAsync),
    CommitCopies,
    WaitCopies {
        pending: Option<u32>,
    },
    Mbarrier(Mbarrier),
    CopyBulk(CopyBulk),
    CommitBulk,
    WaitBulk {
        pending: u32,
        /// Only until the sources have been read.
        read: bool,
    },
    Fence(FenceKind),
    Clock {
        result: Slot,
        wide: bool,
    },
    /// Whether a generic address lies in a space.
    IsSpace {
        result: Predicate,
        space: Space,
        address: Slot,
    },
    /// Hints that change no result.
    Hint,
}

impl Op {
    /// How the loop over instructions treats it.
    pub(crate) fn step(&self) -> Step {
        match self {
            Self::Branch(_) => Step::Branch,
            Self::Exit | Self::Call { .. } | Self::Return(_) => Step::Control,
            _ if self.sync_mask().is_some() || self.is_aligned() => Step::Together,
            _ => Step::Plain,
        }
    }

    /// Whether all lanes of a mask register must arrive together, and which register.
    pub(crate) fn sync_mask(&self) -> Option<Slot> {
        match self {
            Self::WarpSync { mask }
            | Self::Vote { mask, .. }
            | Self::Match { mask, .. }
            | Self::Reduce { mask, .. }
            | Self::Elect { mask, .. } => Some(*mask),
            Self::Shuffle(shuffle) => Some(shuffle.mask),
            _ => None,
        }
    }

    /// Whether all live lanes of the warp must arrive together.
    pub(crate) fn is_aligned(&self) -> bool {
        matches!(self, Self::Mma(_) | Self::MatrixMove(_) | Self::Barrier(_))
    }
}
