//! Order between accesses: what hardware leaves to chance is found here.

pub(crate) mod clock;
pub(crate) mod global;
pub(crate) mod proxy;
pub(crate) mod shared;

/// How memory is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
    /// Loads, stores and updates that take part in synchronisation never race with each other.
    AtomicRead,
    AtomicWrite,
    Atomic,
    /// An operation on an mbarrier object.
    Mbarrier,
    /// The target of an asynchronous copy, until it is waited for.
    AsyncWrite,
    /// The source of an asynchronous copy, until it is waited for.
    AsyncRead,
}

impl Use {
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::AtomicRead | Self::AsyncRead)
    }

    pub(crate) fn is_atomic(self) -> bool {
        matches!(self, Self::AtomicRead | Self::AtomicWrite | Self::Atomic | Self::Mbarrier)
    }
}

/// One access of one lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) address: u64,
    pub(crate) bytes: u32,
    pub(crate) usage: Use,
    pub(crate) pc: u32,
}
