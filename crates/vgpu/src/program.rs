//! Decoded kernels: what execution reads.

use std::collections::HashMap;

use crate::counters::InstructionClass;
use crate::kernel::Parameter;
use crate::numeric::{FloatInstruction, Conversion};
use crate::ptx::ast::Bounds;
use crate::ptx::types::Type;
use crate::registers::{CompareFn, LaneFn, Predicate, Slot};

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
    pub(crate) guard: Guard,
    pub(crate) class: InstructionClass,
    pub(crate) line: u32,
    pub(crate) source: Option<(u32, u32)>,
    pub(crate) opcode: Box<str>,
    pub(crate) flow: Flow,
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

/// A state space of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    Generic,
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// `[base + offset]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) base: Option<Slot>,
    pub(crate) wide: bool,
    pub(crate) offset: i64,
}

/// What ordering a memory operation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ordering {
    pub(crate) acquire: bool,
    pub(crate) release: bool,
    /// Takes part in synchronisation: atomic, `.relaxed` or stronger, or `.volatile`.
    pub(crate) strong: bool,
}

/// A load or store of one to eight values of one type per lane.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) space: Space,
    pub(crate) address: Address,
    pub(crate) kind: Type,
    /// Registers in order; none where the result is not wanted.
    pub(crate) values: Vec<Option<Slot>>,
    /// Whether those registers have 64 bits.
    pub(crate) wide: bool,
    /// Bits of a register, to which loaded integers are extended.
    pub(crate) register_mask: u64,
    pub(crate) ordering: Ordering,
}

/// What an atomic operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomicKind {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareExchange,
    Increment,
    Decrement,
}

/// An atomic operation or reduction.
#[derive(Debug, Clone)]
pub(crate) struct Atomic {
    pub(crate) space: Space,
    pub(crate) address: Address,
    pub(crate) kind: AtomicKind,
    pub(crate) value: Type,
    pub(crate) result: Vec<Option<Slot>>,
    pub(crate) operands: Vec<Slot>,
    pub(crate) compare: Option<Slot>,
    pub(crate) ordering: Ordering,
}

/// How predicates are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

impl Logic {
    pub(crate) fn apply(self, a: u32, b: u32) -> u32 {
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

/// `setp`.
#[derive(Debug, Clone)]
pub(crate) struct Compare {
    pub(crate) run: CompareFn,
    pub(crate) a: Slot,
    pub(crate) b: Slot,
    pub(crate) result: Predicate,
    pub(crate) complement: Option<Predicate>,
    pub(crate) combine: Option<(Logic, Guard)>,
}

/// Extended-precision integer arithmetic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carry {
    pub(crate) kind: CarryKind,
    pub(crate) wide: bool,
    pub(crate) carry_in: bool,
    pub(crate) carry_out: bool,
    pub(crate) slots: [Slot; 4],
}

/// Which extended-precision operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CarryKind {
    Add,
    Subtract,
    MultiplyLow,
    MultiplyHigh { signed: bool },
}

/// How `bar` is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierUse {
    Sync,
    Arrive,
    /// `bar.red` over a predicate; the result is a count or a predicate.
    Count { predicate: Guard, result: Slot },
    Reduce { logic: Logic, predicate: Guard, result: Predicate },
}

/// A CTA barrier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Barrier {
    pub(crate) id: Slot,
    /// Threads that take part, if not all.
    pub(crate) threads: Option<Slot>,
    pub(crate) usage: BarrierUse,
}

/// Where `shfl` takes its value from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `shfl.sync`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shuffle {
    pub(crate) mode: ShuffleMode,
    pub(crate) result: Slot,
    pub(crate) in_range: Option<Predicate>,
    pub(crate) value: Slot,
    pub(crate) lane: Slot,
    pub(crate) clamp: Slot,
    pub(crate) mask: Slot,
}

/// What a vote yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VoteKind {
    All(Predicate),
    Any(Predicate),
    Uniform(Predicate),
    Ballot(Slot),
}

/// A reduction over a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReduceKind {
    Add,
    MinUnsigned,
    MaxUnsigned,
    MinSigned,
    MaxSigned,
    And,
    Or,
    Xor,
}

/// Element formats of tensor products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    S8,
    U8,
    F64,
}

impl Element {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::F16 | Self::Bf16 => 16,
            Self::Tf32 => 32,
            Self::E4m3 | Self::E5m2 | Self::S8 | Self::U8 => 8,
            Self::F64 => 64,
        }
    }
}

/// `mma.sync` of shape 16 x 8 x `k`.
#[derive(Debug, Clone)]
pub(crate) struct Mma {
    pub(crate) k: usize,
    pub(crate) a_format: Element,
    pub(crate) b_format: Element,
    /// Accumulators are f16, in pairs; otherwise f32, or s32 for integer elements.
    pub(crate) half_accumulator: bool,
    pub(crate) saturate: bool,
    pub(crate) d: Vec<Slot>,
    pub(crate) a: Vec<Slot>,
    pub(crate) b: Vec<Slot>,
    pub(crate) c: Vec<Slot>,
}

/// `ldmatrix` or `stmatrix` of 8 x 8 matrices of 16 bits.
#[derive(Debug, Clone)]
pub(crate) struct MatrixMove {
    pub(crate) store: bool,
    pub(crate) transposed: bool,
    pub(crate) address: Address,
    pub(crate) space: Space,
    pub(crate) registers: Vec<Slot>,
}

/// Operations on mbarriers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MbarrierKind {
    Init { count: Slot },
    Invalidate,
    Arrive { count: Option<Slot>, state: Option<Slot>, drop: bool },
    ArriveExpect { bytes: Slot, state: Option<Slot> },
    Expect { bytes: Slot },
    Complete { bytes: Slot },
    /// Arrival when all earlier `cp.async` of the thread have landed.
    ArriveAfterCopies { no_increment: bool },
    WaitParity { parity: Slot, result: Predicate },
    WaitState { state: Slot, result: Predicate },
    PendingCount { state: Slot, result: Slot },
}

/// An mbarrier instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mbarrier {
    pub(crate) kind: MbarrierKind,
    pub(crate) space: Space,
    pub(crate) address: Address,
}

/// `cp.async` of up to 16 bytes per thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopyAsync {
    pub(crate) to: Address,
    pub(crate) from: Address,
    pub(crate) bytes: u32,
    /// Bytes really copied; the rest becomes zero.
    pub(crate) source_bytes: Option<Slot>,
    /// Nothing is copied where it holds.
    pub(crate) ignore: Option<Guard>,
}

/// `cp.async.bulk` between global and shared memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopyBulk {
    pub(crate) to: Address,
    pub(crate) from: Address,
    pub(crate) bytes: Slot,
    /// The mbarrier that counts the bytes: global to shared. Without: shared to global, by group.
    pub(crate) mbarrier: Option<Address>,
}

/// What a fence orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FenceKind {
    Block,
    Device,
    ProxyAsync,
    MbarrierInit,
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
    MixedFloat { instruction: FloatInstruction, small: Type, narrow: usize, slots: [Slot; 4] },
    /// With the widths of source and result registers: whether they have 64 bits.
    Convert(Conversion, bool, bool, [Slot; 4]),
    Compare(Compare),
    /// `set`: comparison with a value for true as the result.
    SetCompare(Compare, Slot, u32),
    Select { wide: bool, result: Slot, a: Slot, b: Slot, predicate: Guard },
    MovePredicate(Predicate, Guard),
    PredicateLogic(Logic, Predicate, Guard, Guard),
    Carry(Carry),
    /// `lop3`: a logic function of three inputs by its truth table.
    TruthTable(u32, [Slot; 4]),
    InsertField { wide: bool, result: Slot, field: Slot, base: Slot, position: Slot, length: Slot },
    Pack { parts: Vec<Slot>, part_bits: u32, wide: bool, result: Slot },
    Unpack { parts: Vec<Option<Slot>>, part_bits: u32, wide: bool, value: Slot },
    Load(Access),
    Store(Access),
    Atomic(Atomic),
    Branch(u32),
    Call { target: u32, return_to: Slot },
    Return(Slot),
    Exit,
    Trap(&'static str),
    /// Copies bytes between two places of every lane's frame.
    CopyLocal { from: u32, to: u32, bytes: u32 },
    Barrier(Barrier),
    WarpSync { mask: Slot },
    Shuffle(Shuffle),
    Vote { kind: VoteKind, predicate: Guard, mask: Slot },
    Match { all: Option<Option<Predicate>>, wide: bool, result: Slot, value: Slot, mask: Slot },
    Reduce { kind: ReduceKind, result: Slot, value: Slot, mask: Slot },
    ActiveMask(Slot),
    Elect { result: Option<Slot>, predicate: Predicate, mask: Slot },
    Mma(Box<Mma>),
    MatrixMove(MatrixMove),
    CopyAsync(CopyAsync),
    CommitCopies,
    WaitCopies { pending: Option<u32> },
    Mbarrier(Mbarrier),
    CopyBulk(CopyBulk),
    CommitBulk,
    WaitBulk { pending: u32 },
    Fence(FenceKind),
    Clock { result: Slot, wide: bool },
    /// Whether a generic address lies in a space.
    IsSpace { result: Predicate, space: Space, address: Slot },
    /// Hints that change no result.
    Hint,
}

impl Op {
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
