//! The architectures that are known.

use crate::{ModelError, arch, decoder::Block, loader::Loader};

/// A kind of network: what its configuration implies and how its layers are built.
pub struct Architecture {
    /// Class name in `config.json`.
    pub name: &'static str,
    /// `general.architecture` in GGUF.
    pub gguf: &'static str,
    /// Whether queries and keys are normalised per head.
    pub(crate) qk_norm: bool,
    /// Whether layers can be mixtures of experts.
    pub(crate) experts: bool,
    /// Whether GGUF files store the rows of queries and keys for rotation of neighbouring pairs.
    pub(crate) gguf_interleaved: bool,
    /// Builds one layer.
    pub(crate) block: fn(&Loader<'_>, layer: usize) -> Result<Block, ModelError>,
}

impl std::fmt::Debug for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

static ARCHITECTURES: [&Architecture; 3] =
    [&arch::qwen3::QWEN3, &arch::qwen3_moe::QWEN3_MOE, &arch::llama::LLAMA];

/// All architectures.
pub fn architectures() -> &'static [&'static Architecture] {
    &ARCHITECTURES
}

/// The architecture whose name in this kind of file, as `name_of` gives it, is `name`.
pub(crate) fn find(
    file: &str,
    name: &str,
    name_of: fn(&Architecture) -> &'static str,
) -> Result<&'static Architecture, ModelError> {
    ARCHITECTURES.iter().copied().find(|architecture| name_of(architecture) == name).ok_or_else(
        || ModelError::Architecture {
            file: file.to_owned(),
            name: name.to_owned(),
            known: ARCHITECTURES.map(name_of).join(", "),
        },
    )
}
