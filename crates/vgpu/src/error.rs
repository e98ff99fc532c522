//! What can go wrong: in PTX text, in memory calls, in launches, and in a running kernel.

use std::fmt;

/// PTX that cannot be read or uses what the interpreter does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {message}")]
pub struct PtxError {
    /// Line of the PTX text, from 1; 0 where no line applies.
    pub line: u32,
    /// What is wrong, with the offending text.
    pub message: String,
}

impl PtxError {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// A memory call that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The host refused the address space of the arena.
    #[error("cannot reserve {bytes} bytes of address space: {reason}")]
    Reserve {
        /// Bytes asked for.
        bytes: u64,
        /// The host's answer.
        reason: String,
    },
    /// The device has not that much memory left.
    #[error("out of memory: {requested} bytes asked for, {free} free")]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes left.
        free: u64,
    },
    /// An alignment that is no power of two, or a size of zero.
    #[error("cannot allocate {bytes} bytes aligned to {align}")]
    BadRequest {
        /// Bytes asked for.
        bytes: u64,
        /// Alignment asked for.
        align: u64,
    },
    /// The pointer to free is not the start of a live allocation.
    #[error("{address:#x} is not the start of an allocation{}", if *.freed { " (already freed)" } else { "" })]
    NotAllocated {
        /// The pointer.
        address: u64,
        /// Whether an allocation that was freed had started there.
        freed: bool,
    },
    /// The range is not inside one live allocation.
    #[error("{bytes} bytes at {address:#x} are not inside an allocation{}", if *.freed { " (freed)" } else { "" })]
    OutOfBounds {
        /// First byte of the range.
        address: u64,
        /// Its length.
        bytes: u64,
        /// Whether the range lies in freed memory.
        freed: bool,
    },
}

/// Kinds of faults of a running kernel or its launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The launch itself is impossible: threads, registers, shared memory, grid, parameters.
    LaunchLimit,
    /// An address outside every allocation, window or parameter.
    OutOfBounds,
    /// An address in freed memory.
    UseAfterFree,
    /// An address that is no multiple of the access's size.
    Misaligned,
    /// A write to constant memory.
    WriteToConstant,
    /// Use of a value that nothing has written.
    Uninitialised,
    /// A `.sync` instruction that lanes of its mask can never reach together.
    DivergentSync,
    /// A CTA barrier that can never complete, or whose uses disagree.
    BarrierMismatch,
    /// Two unordered accesses to shared memory, one a write.
    SharedRace,
    /// Memory touched while an asynchronous copy to or from it was not waited for.
    AsyncRace,
    /// Two unordered accesses to global memory from two CTAs, one a write and not both atomic.
    GlobalRace,
    /// An ordinary access, or the initialisation of an mbarrier, and a bulk copy to or from the
    /// same bytes without a proxy fence between.
    MissingProxyFence,
    /// Wrong use of an mbarrier: not initialised, too many arrivals, plain access to it.
    Mbarrier,
    /// No thread can proceed.
    Deadlock,
    /// `trap`, or a failed device-side assertion.
    Trap,
    /// A form that the interpreter cannot run, or an argument that the ISA leaves undefined.
    Unsupported,
}

impl FaultKind {
    /// Whether a real GPU reports it too (as an error of the launch or a sticky error), in
    /// contrast to what only this device sees.
    pub fn hardware_reports(self) -> bool {
        matches!(
            self,
            Self::LaunchLimit
                | Self::OutOfBounds
                | Self::Misaligned
                | Self::WriteToConstant
                | Self::Trap
        )
    }
}

/// A fault with everything known about its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// Name of the kernel.
    pub kernel: String,
    /// Line of the PTX text, from 1; 0 for faults of the launch as a whole.
    pub ptx_line: u32,
    /// Text of the PTX instruction's opcode, empty for faults of the launch as a whole.
    pub instruction: String,
    /// Source file and line from `.loc`, where the PTX has them.
    pub source_line: Option<(String, u32)>,
    /// The CTA.
    pub cta: [u32; 3],
    /// The thread in its CTA.
    pub thread: [u32; 3],
    /// The address concerned, as the kernel would write it.
    pub address: Option<u64>,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in kernel {}", self.kind, self.kernel)?;
        if let Some((file, line)) = &self.source_line {
            write!(f, " at {file}:{line}")?;
        }
        if self.ptx_line > 0 {
            let ([cx, cy, cz], [tx, ty, tz]) = (self.cta, self.thread);
            write!(f, " (PTX line {}, {})", self.ptx_line, self.instruction)?;
            write!(f, ", CTA ({cx}, {cy}, {cz}), thread ({tx}, {ty}, {tz})")?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        write!(f, ": {}", self.message)
    }
}
