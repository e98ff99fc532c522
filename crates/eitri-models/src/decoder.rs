//! The skeleton that all architectures here share: pre-norm layers around a residual stream.

use std::time::{Duration, Instant};

use candle_core::Tensor;
use eitri_kernels::{Context, KvLayer, KvScales, RopeTable, ops::SequenceSpan};

use crate::{
    Deadline, Model, ModelConfig, ModelError, ModelInput,
    arena::Arena,
    layers::{Attention, Embedding, FeedForward, Norm},
    loader::Loader,
    pace::{Pace, first_rows},
    weights::Slot,
};

/// One layer: `x += attention(norm(x)); x += feed_forward(norm(x))`.
pub(crate) struct Block {
    pub(crate) attention_norm: Norm,
    pub(crate) attention: Attention,
    pub(crate) feed_forward_norm: Norm,
    pub(crate) feed_forward: FeedForward,
}

/// A decoder-only transformer.
pub(crate) struct Decoder {
    config: ModelConfig,
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    rope: RopeTable,
    kv_scales: Vec<KvScales>,
    arena: Arena,
    /// Spans of a batch whose last rows were left out.
    spans: Vec<SequenceSpan>,
    /// Time that norm and head take after the layers, lately.
    head: Duration,
}

/// The longest recent time of the head loses this share of itself with each call.
const HEAD_FADE: u32 = 32;

impl Decoder {
    /// Loads embeddings and head first: they are the largest matrices, so that the file pages they
    /// are read from are gone before the other weights fill the memory.
    pub(crate) fn load(
        loader: &Loader<'_>,
        max_rows: usize,
        max_positions: usize,
    ) -> Result<Self, ModelError> {
        let config = loader.config().clone();
        let embedding = Embedding::load(loader)?;
        let blocks = (0..config.layers)
            .map(|layer| (config.architecture.block)(loader, layer))
            .collect::<Result<_, _>>()?;
        let norm = loader.norm(Slot::OutputNorm, 0)?;
        let rope = RopeTable::new(
            config.head_dim,
            max_positions,
            &config.rope_scaling,
            config.rope_theta,
        )?;
        let arena = Arena::new(&config, max_rows)?;
        Ok(Self {
            config,
            embedding,
            blocks,
            norm,
            rope,
            kv_scales: loader.weights().kv_scales()?,
            arena,
            spans: Vec::new(),
            head: Duration::ZERO,
        })
    }

    fn check(
        &self,
        input: &ModelInput<'_>,
        kv: &[KvLayer],
        logits: &Tensor,
    ) -> Result<(), ModelError> {
        let error =
            |what, expected: String, got: String| Err(ModelError::Input { what, expected, got });
        let rows = input.tokens.len();
        if rows > self.arena.max_rows {
            return error("rows", format!("at most {}", self.arena.max_rows), rows.to_string());
        }
        if kv.len() != self.blocks.len() {
            return error("KV layers", self.blocks.len().to_string(), kv.len().to_string());
        }
        if let Some(row) = input.logit_rows.iter().find(|&&row| row as usize >= rows) {
            return error("logit row", format!("below {rows}"), row.to_string());
        }
        match *logits.dims() {
            [max, vocab] if max >= input.logit_rows.len() && vocab == self.config.vocab_size => {
                Ok(())
            }
            ref dims => {
                let (rows, vocab) = (input.logit_rows.len(), self.config.vocab_size);
                error("logits", format!("[>= {rows}, {vocab}]"), format!("{dims:?}"))
            }
        }
    }
}

impl Model for Decoder {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn kv_scales(&self) -> &[KvScales] {
        &self.kv_scales
    }

    fn forward(
        &mut self,
        ctx: &Context,
        input: &ModelInput<'_>,
        kv: &[KvLayer],
        logits: &Tensor,
    ) -> Result<usize, ModelError> {
        self.check(input, kv, logits)?;
        let Self { embedding, blocks, norm, rope, arena, spans, head, .. } = self;
        let (mut part, mut rows) = (*input, input.tokens.len());
        let mut pace = input.deadline.map(|deadline| {
            let at = deadline.at.checked_sub(*head).unwrap_or(deadline.at);
            let deadline = Deadline { at, ..deadline };
            Pace::new(deadline, blocks.len(), rows, Instant::now())
        });
        embedding.forward(ctx, input.tokens, arena)?;
        for (layer, (block, kv)) in blocks.iter().zip(kv).enumerate() {
            if layer == 0 {
                block.attention_norm.forward(ctx, rows, arena)?;
            } else {
                // The sum that closes the layer before is part of this norm: one pass less.
                block.attention_norm.add_forward(ctx, rows, arena)?;
            }
            block.attention.forward(ctx, &part, rope, kv, arena)?;
            block.feed_forward_norm.add_forward(ctx, rows, arena)?;
            block.feed_forward.forward(ctx, rows, arena)?;
            let go_on = pace.as_mut().map_or(rows, |pace| pace.rows(layer + 1, Instant::now()));
            if go_on < rows {
                rows = go_on;
                part = first_rows(input, rows, spans);
            }
        }
        let layers_done = Instant::now();
        norm.add_forward(ctx, rows, arena)?;
        embedding.logits(ctx, part.logit_rows, arena, logits)?;
        *head = layers_done.elapsed().max(head.saturating_sub(*head / HEAD_FADE));
        Ok(rows)
    }
}
