//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use eitri_kernels::KernelError;

use crate::{gguf::GgufError, safetensors::SafeTensorsError};

/// Errors of this crate. Messages name the file and the tensor or key.
#[derive(Debug, thiserror::Error)]
pub enum QuantError {
    /// The operating system would not open or map a file.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Not a GGUF file, or a damaged one.
    #[error("{file}: {error}")]
    Gguf {
        /// The file.
        file: String,
        /// What is wrong.
        error: GgufError,
    },
    /// Not a safetensors file or index, or a damaged one.
    #[error("{file}: {error}")]
    SafeTensors {
        /// The file.
        file: String,
        /// What is wrong.
        error: SafeTensorsError,
    },
    /// A directory has no weights.
    #[error("{directory} has neither model.safetensors nor model.safetensors.index.json")]
    NoWeights {
        /// The directory.
        directory: String,
    },
    /// The index promises a tensor that its shard does not have.
    #[error("{index} says that tensor {tensor} is in {shard}, which does not have it")]
    NotInShard {
        /// The index file.
        index: String,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A tensor is in two files.
    #[error("tensor {tensor} is in both {first} and {second}")]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A tensor is not there.
    #[error("tensor {tensor} is missing from {checkpoint}")]
    Missing {
        /// The tensor.
        tensor: String,
        /// The file, or the first of several.
        checkpoint: String,
    },
    /// A tensor is stored in a way that is not supported.
    #[error("{file}: tensor {tensor} is {encoding}; readable are {known}")]
    Format {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its type.
        encoding: &'static str,
        /// Supported types.
        known: String,
    },
    /// A tensor has another shape than the model needs. Outermost dimension first.
    #[error("tensor {tensor} must have shape {expected:?}, got {got:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What would be right.
        expected: Vec<usize>,
        /// What the file has.
        got: Vec<usize>,
    },
    /// A value that no arithmetic can use.
    #[error("{file}: tensor {tensor} has values that are not finite (NaN or infinity)")]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// Matrices that must be stored alike are not.
    #[error("{first} is {first_format} and {second} is {second_format}; they must be stored alike")]
    Mixed {
        /// One matrix.
        first: String,
        /// How it is stored.
        first_format: &'static str,
        /// The other.
        second: String,
        /// How it is stored.
        second_format: &'static str,
    },
    /// A kernel refused, or a row could not be packed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
