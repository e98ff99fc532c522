//! What the operations of decoded kernels work on.

use crate::ptx::types::Type;
use crate::registers::{CompareFn, Predicate, Slot};

use super::Guard;

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

impl Access {
    /// What a register holds of loaded bits.
    #[inline]
    pub(crate) fn extend(&self, bits: u64) -> u64 {
        if !self.kind.is_signed() {
            return bits & self.register_mask;
        }
        let shift = 64 - self.kind.bytes() * 8;
        ((bits << shift) as i64 >> shift) as u64 & self.register_mask
    }
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
    /// Adds the flag.
    pub(crate) adds_flag: bool,
    /// Sets the flag.
    pub(crate) sets_flag: bool,
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
    Count {
        predicate: Guard,
        result: Slot,
    },
    Reduce {
        logic: Logic,
        predicate: Guard,
        result: Predicate,
    },
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

/// What `match` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatchKind {
    /// For each lane those with its value.
    Any,
    /// Whether all have one value, also as a predicate.
    All(Option<Predicate>),
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
}

impl Element {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::F16 | Self::Bf16 => 16,
            Self::Tf32 => 32,
            Self::E4m3 | Self::E5m2 | Self::S8 | Self::U8 => 8,
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
    Init {
        count: Slot,
    },
    Invalidate,
    Arrive {
        count: Option<Slot>,
        state: Option<Slot>,
        drop: bool,
    },
    ArriveExpect {
        bytes: Slot,
        state: Option<Slot>,
    },
    Expect {
        bytes: Slot,
    },
    Complete {
        bytes: Slot,
    },
    /// Arrival when all earlier `cp.async` of the thread have landed.
    ArriveAfterCopies {
        no_increment: bool,
    },
    WaitParity {
        parity: Slot,
        result: Predicate,
    },
    WaitState {
        state: Slot,
        result: Predicate,
    },
    PendingCount {
        state: Slot,
        result: Slot,
    },
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
    /// What ordinary accesses did, for bulk copies: in shared memory, in global memory.
    Proxy {
        shared: bool,
        global: bool,
    },
    MbarrierInit,
}
