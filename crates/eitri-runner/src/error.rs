//! What can go wrong before the first step.

use std::fmt;

use eitri_kernels::KernelError;
use eitri_models::ModelError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The memory plan does not fit. Nothing has been loaded.
    #[error("{0}")]
    DoesNotFit(Box<Shortage>),
    /// A setting out of range.
    #[error("{flag} must be {expected}, got {value}")]
    Setting {
        /// The flag of the command line, which is also the name of the field.
        flag: &'static str,
        /// What would be right.
        expected: String,
        /// The value that was given.
        value: u64,
    },
    /// The model's files are wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A kernel failed its probe or a call.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The step that warms up the model failed.
    #[error("the first step fails: {0}")]
    WarmUp(String),
}

/// Why a memory plan does not fit, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// What the memory is needed for.
    pub purpose: String,
    /// Bytes that are needed in all.
    pub needed: u64,
    /// Bytes that there are.
    pub limit: u64,
    /// Where the limit comes from.
    pub limited_by: &'static str,
    /// Of `needed`, the model's weights.
    pub weights: u64,
    /// Of `needed`, the KV cache.
    pub kv_cache: u64,
    /// What could be changed.
    pub advice: &'static str,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} takes {} GiB (weights {}, KV cache {}, other {}), but {} is {} GiB; {}",
            self.purpose,
            Gib(self.needed),
            Gib(self.weights),
            Gib(self.kv_cache),
            Gib(self.needed - self.weights - self.kv_cache),
            self.limited_by,
            Gib(self.limit),
            self.advice
        )
    }
}

/// Shows bytes in GiB with three decimals.
pub(crate) struct Gib(pub(crate) u64);

impl fmt::Display for Gib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.3}", self.0 as f64 / (1_u64 << 30) as f64))
    }
}
