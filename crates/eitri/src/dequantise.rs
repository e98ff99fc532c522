//! Writing a checkpoint's values as plain tensors.

use std::{ops::ControlFlow, path::Path};

use eitri_models::DequantiseReport;
use eitri_quant::{Encoding, WriteProgress};

use crate::Error;

/// Type of the floats that [`dequantise`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainType {
    /// Single precision, which has every value of every format but products of scales, which are
    /// rounded once.
    F32,
    /// Its upper half, rounded to nearest even.
    Bf16,
}

/// Writes all tensors of a safetensors or GGUF file, or of a directory of them, to the safetensors
/// file `target`, under the names that an unquantised checkpoint has. It need not be a whole model.
/// The file appears when it is complete; an existing one is replaced then. `progress` is called now
/// and then, and may stop it.
///
/// # Errors
/// When there is no checkpoint, it is damaged or stored in a way that is not supported, or the file
/// cannot be written or is the checkpoint itself.
pub fn dequantise(
    checkpoint: &Path,
    target: &Path,
    floats: PlainType,
    progress: &mut dyn FnMut(WriteProgress) -> ControlFlow<()>,
) -> Result<DequantiseReport, Error> {
    let is_same = |path: &Path| path.canonicalize().ok().filter(|p| p.is_file());
    if is_same(checkpoint).is_some_and(|path| is_same(target) == Some(path)) {
        return Err(Error::OutputIsInput { path: target.to_owned() });
    }
    let floats = match floats {
        PlainType::F32 => Encoding::F32,
        PlainType::Bf16 => Encoding::BF16,
    };
    Ok(eitri_models::dequantise(checkpoint, target, floats, progress)?)
}
