//! What a runner sees of a network.

use candle_core::Tensor;
use eitri_kernels::{Context, KvLayer, KvScales, ops::SequenceSpan};

use crate::{Deadline, ModelConfig, ModelError};

/// A flat batch: rows of several sequences one after the other, prefill and decode alike.
#[derive(Debug, Clone, Copy)]
pub struct ModelInput<'a> {
    /// Token id of each row.
    pub tokens: &'a [u32],
    /// Position of each row in its sequence.
    pub positions: &'a [u32],
    /// Where each row's key and value go: `block * 16 + offset`.
    pub slots: &'a [u32],
    /// Rows of each sequence, in order of rows.
    pub spans: &'a [SequenceSpan],
    /// Block tables of all sequences, one after the other; spans hold offsets into it.
    pub block_tables: &'a [u32],
    /// Rows whose logits are wanted, in ascending order.
    pub logit_rows: &'a [u32],
    /// When to be done, at the price of the last rows.
    pub deadline: Option<Deadline>,
}

/// A network with its weights.
pub trait Model: Send {
    /// Its shape.
    fn config(&self) -> &ModelConfig;

    /// Scales for an FP8 KV cache that the checkpoint brings, one entry for each layer; empty if it
    /// has none, and all are 1.
    fn kv_scales(&self) -> &[KvScales] {
        &[]
    }

    /// Computes all rows, or with a [`Deadline`] perhaps only the first ones, and says how many. Writes their keys and values to `kv`, one entry per layer, and the logits
    /// of `input.logit_rows`, in that order, to the first rows of `logits` f32 `[max, vocab]`.
    /// Allocates nothing once each kind of step has been seen.
    ///
    /// # Errors
    /// When the input does not fit; keys and values of its slots are undefined then.
    fn forward(
        &mut self,
        ctx: &Context,
        input: &ModelInput<'_>,
        kv: &[KvLayer],
        logits: &Tensor,
    ) -> Result<usize, ModelError>;
}
