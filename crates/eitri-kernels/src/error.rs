//! What can go wrong in a kernel call.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The operating system refused a thread.
    #[error("cannot start a kernel thread")]
    Thread(#[source] std::io::Error),
    /// A job panicked on a worker thread.
    #[error("a kernel panicked on a worker thread")]
    WorkerPanicked,
    /// A tensor does not have the shape or type that an operation needs.
    #[error("{op}: {what} must be {expected}, got {got}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The operand.
        what: &'static str,
        /// What would be right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// No kernel exists for this combination, and nothing else is used in its place.
    #[error("{op} has no kernel for {what}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// The combination that was asked for.
        what: String,
    },
    /// A kernel disagrees with its reference on this machine and is refused.
    #[error("kernel {kernel} fails its start-up probe: {detail}")]
    Probe {
        /// The kernel.
        kernel: &'static str,
        /// Largest difference and where.
        detail: String,
    },
    /// The rows of a weight could not be produced while packing.
    #[error("row {row}: {message}")]
    Row {
        /// Which row.
        row: usize,
        /// Why.
        message: String,
    },
    /// An error of the tensor library.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
