//! What can go wrong between a path and logits.

use std::path::PathBuf;

use eitri_kernels::KernelError;
use eitri_quant::QuantError;

/// Errors of this crate. Messages name the file and the field or tensor.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file that cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A path that holds no model.
    #[error("{} is not a model: {message}", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        message: String,
    },
    /// A file that is not JSON.
    #[error("{file}: not valid JSON: {message}")]
    Json {
        /// The file.
        file: String,
        /// Why, with line and column.
        message: String,
    },
    /// A field of the configuration that is missing or wrong.
    #[error("{file}: {field} must be {expected}, got {got}")]
    Field {
        /// The file.
        file: String,
        /// The field or metadata key.
        field: String,
        /// What would be right.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A model that needs something which is not there.
    #[error("{file}: {field} is {value}, which is not supported{hint}")]
    Unsupported {
        /// The file.
        file: String,
        /// The field or metadata key.
        field: String,
        /// Its value.
        value: String,
        /// What is supported, or empty.
        hint: String,
    },
    /// An architecture that is not in the registry.
    #[error("{file}: architecture {name} is not supported; supported are {known}")]
    Architecture {
        /// The file.
        file: String,
        /// Its name.
        name: String,
        /// The supported ones.
        known: String,
    },
    /// Tensors that the network needs.
    #[error("{file} lacks tensors of the network: {tensors}")]
    MissingTensors {
        /// The file, or the first of several.
        file: String,
        /// The first few, and how many more there are.
        tensors: String,
    },
    /// A tensor whose values are too large for the scales of a format.
    #[error("tensor {tensor} has values that are too large for {encoding}; choose another format")]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// The format.
        encoding: &'static str,
    },
    /// Texts for calibration where they change nothing.
    #[error(
        "{scheme} has no use for calibration texts: its weights are rounded to the nearest and \
         activations are scaled as they come; leave them out, or choose another format"
    )]
    NoCalibration {
        /// The format.
        scheme: &'static str,
    },
    /// The caller stopped an export.
    #[error("stopped before all was written; nothing is left of it")]
    Stopped,
    /// A step that does not fit the loaded model.
    #[error("step input: {what} must be {expected}, got {got}")]
    Input {
        /// The part of the input.
        what: &'static str,
        /// What would be right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// The checkpoint is damaged, incomplete or stored in a way that is not supported.
    #[error(transparent)]
    Checkpoint(#[from] QuantError),
    /// A kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The tensor library failed, usually for want of memory.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
