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
    /// The operating system would not write a file.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A tensor type that files of a kind cannot have, or that does not fill whole blocks.
    #[error("tensor {tensor} of shape {shape:?} cannot be written as {encoding}")]
    NotStorable {
        /// The tensor.
        tensor: String,
        /// Its dimensions, outermost first.
        shape: Vec<usize>,
        /// The type.
        encoding: &'static str,
    },
    /// The caller stopped the writing of a file.
    #[error("stopped before the file was complete; nothing was written")]
    Stopped,
    /// A tensor got more or fewer bytes than its shape and type take.
    #[error("tensor {tensor} takes {expected} bytes, got {got}")]
    DataLength {
        /// The tensor.
        tensor: String,
        /// What would be right.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// A tensor type that is only read.
    #[error("{encoding} cannot be written; {known} can")]
    NotEncodable {
        /// The type.
        encoding: &'static str,
        /// Types that can be written.
        known: String,
    },
    /// A row that does not fill whole blocks, or a buffer of another size.
    #[error("{values} values are not {bytes} bytes of {encoding}")]
    RowLength {
        /// The type.
        encoding: &'static str,
        /// Values of the row.
        values: usize,
        /// Bytes of the buffer.
        bytes: usize,
    },
    /// A tensor does not hold what its place in a quantised module needs.
    #[error("{file}: tensor {tensor} {message}")]
    Stored {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        message: String,
    },
    /// A field of a quantisation's configuration that is wrong.
    #[error("{file}: {field} must be {expected}, got {got}")]
    Config {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// What would be right.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A quantisation that cannot be computed.
    #[error("{file}: {what} is not supported; {nearest}")]
    Unsupported {
        /// The file, or the tensors.
        file: String,
        /// What is declared there.
        what: String,
        /// What comes nearest to it and works.
        nearest: String,
    },
    /// A module whose shape a scheme cannot store.
    #[error(
        "{module} has shape {shape:?}, which {scheme} cannot store: rows must be a multiple of {}, \
         columns of {}", multiples[0], multiples[1]
    )]
    NotPackable {
        /// The module.
        module: String,
        /// The scheme.
        scheme: &'static str,
        /// Rows and columns.
        shape: [usize; 2],
        /// What they must be multiples of.
        multiples: [usize; 2],
    },
    /// A tensor that a writer was not told about, or got twice.
    #[error("tensor {tensor} {problem}")]
    NotExpected {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Inputs that no damping makes independent, usually because they are not finite.
    #[error("the products of {inputs} inputs cannot be factorised; calibrate with other texts")]
    Hessian {
        /// Inputs of the module.
        inputs: usize,
    },
    /// A size of groups that a format has not.
    #[error(
        "{scheme} cannot have a scale for every {size} inputs; formats of integers can for {sizes:?}"
    )]
    GroupSize {
        /// The format.
        scheme: &'static str,
        /// What was asked for.
        size: usize,
        /// What there is.
        sizes: [usize; 3],
    },
    /// Error feedback on a grid that it is not made for.
    #[error("error feedback is for integers, not for floats with a scale for {columns} inputs")]
    NoFeedback {
        /// Inputs that share a scale.
        columns: usize,
    },
    /// The tensor library failed, usually for want of memory.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A kernel refused, or a row could not be packed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
