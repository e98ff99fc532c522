//! Where matrices come from: files, or a configuration that says how files would store them.

use eitri_quant::{Checkpoint, Encoding, Matrix, QuantError, QuantizationConfig};

use super::{Naming, Slot};
use crate::{GgufPreset, ModelConfig};

/// What the matrices of a network are taken from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Checkpoint(&'a Checkpoint),
    Declared(&'a Declared),
}

/// How a checkpoint that is not there stores its matrices.
#[derive(Debug)]
pub(crate) enum Declared {
    /// Safetensors of Hugging Face transformers; the type is that of unquantised matrices.
    HuggingFace(Option<QuantizationConfig>, Encoding),
    /// A GGUF file as llama.cpp's quantiser makes it.
    Gguf(&'static GgufPreset),
}

impl<'a> Source<'a> {
    /// Name of the file, for messages.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.name(),
            Self::Declared(_) => "the configuration",
        }
    }

    /// Whether the matrices of this slot are one module.
    pub(super) fn has(self, naming: Naming, slot: Slot, module: &str) -> bool {
        match self {
            Self::Checkpoint(checkpoint) => {
                checkpoint.contains(module) || checkpoint.contains(&format!("{module}.weight"))
            }
            // Writers of GGUF files stack experts; published safetensors have one matrix for each.
            Self::Declared(_) => {
                let is_stack = matches!(slot, Slot::ExpertGate | Slot::ExpertUp | Slot::ExpertDown);
                is_stack && naming == Naming::Gguf
            }
        }
    }

    /// The matrix of a module, of this shape.
    pub(super) fn open(
        self,
        config: &ModelConfig,
        module: &str,
        shape: [usize; 3],
    ) -> Result<Matrix<'a>, QuantError> {
        let [experts, n, k] = shape;
        match self {
            Self::Checkpoint(checkpoint) => Matrix::open(checkpoint, module)?.expect(experts, n, k),
            Self::Declared(Declared::HuggingFace(quantization, dense)) => {
                Matrix::declared(quantization.as_ref(), *dense, module, [n, k])
            }
            Self::Declared(Declared::Gguf(preset)) => {
                let name = format!("{module}.weight");
                let shape_of_file = if experts == 1 { &shape[1..] } else { &shape[..] };
                let encoding = preset.encoding(&name, shape_of_file, config);
                Matrix::declared_as(encoding, &name, shape)
            }
        }
    }

    /// A norm's weight; of declared networks, which have no values, none.
    pub(super) fn vector(self, name: &str, len: usize) -> Result<Vec<f32>, QuantError> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.vector(name, len),
            Self::Declared(_) => Ok(Vec::new()),
        }
    }
}
