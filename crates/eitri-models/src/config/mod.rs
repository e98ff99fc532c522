//! What a network looks like, from `config.json` or GGUF metadata.

mod fields;
mod generation;
mod gguf;
mod hugging_face;
mod rope;

use eitri_kernels::{HeadShape, RopeScaling, RopeTable};

pub use generation::GenerationConfig;
pub(crate) use gguf::{EOS_TOKEN_IDS, ROPE_FACTORS, from_gguf, generation_from_gguf};
pub(crate) use hugging_face::{dense_encoding, from_json};

use crate::{Architecture, ModelError};

/// Shape of a decoder-only transformer, checked.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Which network.
    pub architecture: &'static Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Dimensions of a head; `heads * head_dim` need not be `hidden_size`.
    pub head_dim: usize,
    /// Width of dense feed-forward networks.
    pub intermediate_size: usize,
    /// Rows of the embedding table, padding included.
    pub vocab_size: usize,
    /// Longest context, with `rope_scaling` applied.
    pub max_position_embeddings: usize,
    /// Epsilon of all norms.
    pub rms_norm_eps: f32,
    /// Base of the rotation frequencies.
    pub rope_theta: f64,
    /// Stretching of the rotation frequencies.
    pub rope_scaling: RopeScaling,
    /// Whether the head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Present in models with experts.
    pub moe: Option<MoeConfig>,
    /// Start token, if the configuration names one.
    pub bos_token_id: Option<u32>,
    /// End tokens that the configuration names.
    pub eos_token_ids: Vec<u32>,
}

/// The experts of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoeConfig {
    /// Experts per layer.
    pub experts: usize,
    /// Experts per token.
    pub top_k: usize,
    /// Width of each expert's network.
    pub intermediate_size: usize,
    /// Whether the weights of the chosen experts are made to sum to one.
    pub norm_topk_prob: bool,
    /// Every n-th layer is sparse; 1 means all, 0 none.
    pub decoder_sparse_step: usize,
    /// Layers that are dense all the same.
    pub mlp_only_layers: Vec<usize>,
}

impl MoeConfig {
    /// Whether `layer` chooses experts.
    pub fn is_sparse(&self, layer: usize) -> bool {
        self.decoder_sparse_step > 0
            && (layer + 1).is_multiple_of(self.decoder_sparse_step)
            && !self.mlp_only_layers.contains(&layer)
    }
}

impl ModelConfig {
    /// Heads, as kernels and KV memory need them.
    pub fn head_shape(&self) -> HeadShape {
        HeadShape { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim }
    }

    /// Width of dense feed-forward networks, 0 if every layer is sparse.
    pub(crate) fn dense_intermediate(&self) -> usize {
        let dense = |layer| self.moe.as_ref().is_none_or(|moe| !moe.is_sparse(layer));
        if (0..self.layers).any(dense) { self.intermediate_size } else { 0 }
    }

    /// Bytes of the rotation table for sequences up to `max_positions`.
    pub fn rope_bytes(&self, max_positions: usize) -> usize {
        RopeTable::bytes(self.head_dim, max_positions)
    }

    /// Checks what the parts must satisfy together; each part alone was checked when read.
    fn check(self, file: &str, names: &CheckNames) -> Result<Self, ModelError> {
        let error = |field: &str, expected: String, got: usize| {
            Err(ModelError::Field {
                file: file.to_owned(),
                field: field.to_owned(),
                expected,
                got: got.to_string(),
            })
        };
        if !self.heads.is_multiple_of(self.kv_heads) {
            let expected = format!("a divisor of the {} query heads", self.heads);
            return error(names.kv_heads, expected, self.kv_heads);
        }
        if !self.head_dim.is_multiple_of(8) {
            return error(names.head_dim, "a multiple of 8".into(), self.head_dim);
        }
        if let Some(moe) = &self.moe
            && moe.top_k > moe.experts
        {
            return error(names.top_k, format!("at most the {} experts", moe.experts), moe.top_k);
        }
        Ok(self)
    }
}

/// What the fields of [`ModelConfig::check`] are called in the file at hand.
struct CheckNames {
    kv_heads: &'static str,
    head_dim: &'static str,
    top_k: &'static str,
}

/// Largest sizes that are believed. Far above any model, and small enough that products of three
/// of them and a few bytes fit 64 bits.
mod limits {
    pub(super) const WIDTH: u64 = 1 << 20;
    pub(super) const LAYERS: u64 = 1 << 12;
    pub(super) const HEADS: u64 = 1 << 12;
    pub(super) const HEAD_DIM: u64 = 1 << 10;
    pub(super) const VOCAB: u64 = 1 << 24;
    pub(super) const POSITIONS: u64 = 1 << 27;
    pub(super) const EXPERTS: u64 = 1 << 12;
}
