//! The matrices of a network, found by their place and checked against the configuration.

mod kv_scales;
mod names;
mod source;

use eitri_quant::Matrix;

pub(crate) use names::{Naming, Slot};
pub(crate) use source::{Declared, Source};

use crate::{ModelConfig, ModelError, MoeConfig};

/// A checkpoint, there or declared, seen through a model's configuration. Nothing is read before it is packed.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) config: &'a ModelConfig,
    pub(crate) naming: Naming,
}

impl<'a> Weights<'a> {
    pub(crate) fn config(&self) -> &'a ModelConfig {
        self.config
    }

    /// `[vocab, hidden]`.
    pub(crate) fn embedding(&self) -> Result<Matrix<'a>, ModelError> {
        self.matrix(Slot::Embedding, 0, self.config.vocab_size, self.config.hidden_size)
    }

    /// `[vocab, hidden]`; `None` when it is the embedding.
    pub(crate) fn output(&self) -> Result<Option<Matrix<'a>>, ModelError> {
        if self.config.tie_word_embeddings {
            return Ok(None);
        }
        self.matrix(Slot::Output, 0, self.config.vocab_size, self.config.hidden_size).map(Some)
    }

    /// Rows of queries, keys and values, in one matrix or three.
    pub(crate) fn qkv(&self, layer: usize) -> Result<Vec<Matrix<'a>>, ModelError> {
        let shape = self.config.head_shape();
        let hidden = self.config.hidden_size;
        if self.has(Slot::FusedQkv, layer) && !self.interleaved() {
            return Ok(vec![self.matrix(Slot::FusedQkv, layer, shape.qkv_width(), hidden)?]);
        }
        let heads = |slot, heads| self.matrix(slot, layer, heads * shape.head_dim, hidden);
        let query = self.rotate_half(heads(Slot::Query, shape.heads)?);
        let key = self.rotate_half(heads(Slot::Key, shape.kv_heads)?);
        Ok(vec![query, key, heads(Slot::Value, shape.kv_heads)?])
    }

    fn interleaved(&self) -> bool {
        self.naming == Naming::Gguf && self.config.architecture.gguf_interleaved
    }

    /// llama.cpp's converter reorders the rows of each Llama head so that the two dimensions that
    /// turn together are neighbours; here they are half a head apart, as in training.
    fn rotate_half(&self, matrix: Matrix<'a>) -> Matrix<'a> {
        if !self.interleaved() {
            return matrix;
        }
        let head = self.config.head_dim;
        let half = head / 2;
        matrix.permute_rows(move |row| {
            let (first, i) = (row / head * head, row % head);
            first + 2 * (i % half) + i / half
        })
    }

    /// `[hidden, heads * head_dim]`.
    pub(crate) fn attention_output(&self, layer: usize) -> Result<Matrix<'a>, ModelError> {
        let shape = self.config.head_shape();
        let width = shape.heads * shape.head_dim;
        self.matrix(Slot::AttentionOutput, layer, self.config.hidden_size, width)
    }

    /// Rows of gate and up.
    pub(crate) fn gate_up(&self, layer: usize) -> Result<Vec<Matrix<'a>>, ModelError> {
        let (n, k) = (self.config.intermediate_size, self.config.hidden_size);
        Ok(vec![self.matrix(Slot::Gate, layer, n, k)?, self.matrix(Slot::Up, layer, n, k)?])
    }

    /// `[hidden, intermediate]`.
    pub(crate) fn down(&self, layer: usize) -> Result<Matrix<'a>, ModelError> {
        self.matrix(Slot::Down, layer, self.config.hidden_size, self.config.intermediate_size)
    }

    /// `[experts, hidden]`.
    pub(crate) fn router(&self, layer: usize, moe: &MoeConfig) -> Result<Matrix<'a>, ModelError> {
        self.matrix(Slot::Router, layer, moe.experts, self.config.hidden_size)
    }

    /// `experts x [2 * intermediate, hidden]`, gate rows first.
    pub(crate) fn expert_gate_up(
        &self,
        layer: usize,
        moe: &MoeConfig,
    ) -> Result<Matrix<'a>, ModelError> {
        let (n, k) = (moe.intermediate_size, self.config.hidden_size);
        if self.has(Slot::ExpertGateUp, layer) {
            let module = self.naming.module(Slot::ExpertGateUp, layer);
            return self.open(&module, [moe.experts, 2 * n, k]);
        }
        let gate = self.experts(Slot::ExpertGate, layer, moe, n, k)?;
        let up = self.experts(Slot::ExpertUp, layer, moe, n, k)?;
        Ok(Matrix::concat_rows(vec![gate, up])?)
    }

    /// `experts x [hidden, intermediate]`.
    pub(crate) fn expert_down(
        &self,
        layer: usize,
        moe: &MoeConfig,
    ) -> Result<Matrix<'a>, ModelError> {
        let (n, k) = (self.config.hidden_size, moe.intermediate_size);
        self.experts(Slot::ExpertDown, layer, moe, n, k)
    }

    /// A norm's weight.
    pub(crate) fn norm(&self, slot: Slot, layer: usize) -> Result<Vec<f32>, ModelError> {
        let len = match slot {
            Slot::QueryNorm | Slot::KeyNorm => self.config.head_dim,
            _ => self.config.hidden_size,
        };
        let name = format!("{}.weight", self.naming.module(slot, layer));
        Ok(self.source.vector(&name, len)?)
    }

    /// Experts in one tensor, or in one each.
    fn experts(
        &self,
        slot: Slot,
        layer: usize,
        moe: &MoeConfig,
        n: usize,
        k: usize,
    ) -> Result<Matrix<'a>, ModelError> {
        if self.has(slot, layer) {
            return self.open(&self.naming.module(slot, layer), [moe.experts, n, k]);
        }
        let expert = |expert| self.open(&self.naming.expert(slot, layer, expert), [1, n, k]);
        let parts = (0..moe.experts).map(expert).collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Matrix::stack_experts(parts)?)
    }

    fn has(&self, slot: Slot, layer: usize) -> bool {
        self.source.has(self.naming, slot, &self.naming.module(slot, layer))
    }

    fn open(&self, module: &str, shape: [usize; 3]) -> Result<Matrix<'a>, ModelError> {
        Ok(self.source.open(self.config, module, shape)?)
    }

    fn matrix(
        &self,
        slot: Slot,
        layer: usize,
        n: usize,
        k: usize,
    ) -> Result<Matrix<'a>, ModelError> {
        self.open(&self.naming.module(slot, layer), [1, n, k])
    }
}
