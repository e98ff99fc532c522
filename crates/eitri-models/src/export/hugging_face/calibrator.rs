//! Runs texts through the layers, one layer after the other, and looks at what modules get.
//!
//! Layers leave the inputs of their matrices in the step's memory, so that nothing in them is
//! changed for this. Only one layer is loaded at a time; between layers the state of all texts is
//! kept, which is the largest part: `hidden_size` f32 for each token.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use eitri_kernels::{
    Activations, Context, ContextConfig, KV_BLOCK, KvLayer, RopeTable, ops::SequenceSpan, read,
    write,
};

use super::{
    inputs::{Inputs, Wanted},
    network::Point,
};
use crate::{
    ModelConfig, ModelError, ModelFiles, ModelInput, MoeConfig, arena::Arena, decoder::Block,
    loader::Loader, weights::Weights,
};

/// Longest text; what is longer is cut.
pub const CALIBRATION_TEXT_TOKENS: usize = 2048;
/// Most tokens of all texts; what comes after them is left out.
pub const CALIBRATION_TOKENS: usize = 1 << 16;

/// Rows that are computed together.
const MAX_ROWS: usize = CALIBRATION_TEXT_TOKENS;

/// Texts on their way through the network.
pub(super) struct Calibrator<'a> {
    config: &'a ModelConfig,
    ctx: Context,
    rope: RopeTable,
    arena: Arena,
    kv: KvLayer,
    batches: Vec<Batch>,
}

/// Some whole texts.
#[derive(Default)]
struct Batch {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    slots: Vec<u32>,
    spans: Vec<SequenceSpan>,
    block_tables: Vec<u32>,
    /// State before the next layer, `[rows, hidden]`.
    hidden: Vec<f32>,
}

impl Batch {
    fn fits(&self, len: usize) -> bool {
        self.tokens.is_empty() || self.tokens.len() + len <= MAX_ROWS
    }

    fn add(&mut self, text: &[u32]) {
        let (row, table) = (self.tokens.len(), self.block_tables.len());
        self.spans.push(SequenceSpan { row, len: text.len(), context: text.len(), table });
        let blocks = table as u32..(table + text.len().div_ceil(KV_BLOCK)) as u32;
        let first_slot = table as u32 * KV_BLOCK as u32;
        self.block_tables.extend(blocks);
        self.tokens.extend(text);
        self.positions.extend(0..text.len() as u32);
        self.slots.extend((0..text.len() as u32).map(|i| first_slot + i));
    }
}

/// The inputs that a layer's modules had.
pub(super) type LayerInputs = HashMap<Point, Inputs>;

impl<'a> Calibrator<'a> {
    /// Looks up the embeddings of all texts.
    ///
    /// # Errors
    /// When there are no tokens, one is not in the vocabulary, or memory is short.
    pub(super) fn new(
        files: &'a ModelFiles,
        texts: &[Vec<u32>],
        threads: usize,
    ) -> Result<Self, ModelError> {
        let config = files.config();
        let mut batches: Vec<Batch> = Vec::new();
        let mut left = CALIBRATION_TOKENS;
        let longest = CALIBRATION_TEXT_TOKENS.min(config.max_position_embeddings);
        for text in texts {
            let text = &text[..text.len().min(longest).min(left)];
            left -= text.len();
            if text.is_empty() {
                continue;
            }
            if batches.last().is_none_or(|batch| !batch.fits(text.len())) {
                batches.push(Batch::default());
            }
            if let Some(batch) = batches.last_mut() {
                batch.add(text);
            }
        }
        if batches.is_empty() {
            let (what, expected) = ("calibration texts", "at least one token".to_owned());
            return Err(ModelError::Input { what, expected, got: "none".to_owned() });
        }
        embed(files, &mut batches)?;
        let blocks = batches.iter().map(|batch| batch.block_tables.len()).max().unwrap_or(1);
        Ok(Self {
            config,
            ctx: Context::new(&ContextConfig {
                threads,
                activations: Activations::Exact,
                ..ContextConfig::default()
            })?,
            rope: RopeTable::new(
                config.head_dim,
                longest,
                &config.rope_scaling,
                config.rope_theta,
            )?,
            arena: Arena::new(config, MAX_ROWS)?,
            kv: KvLayer::new(blocks, KV_BLOCK, config.head_shape(), DType::F32)?,
            batches,
        })
    }

    /// Tokens of all texts.
    pub(super) fn tokens(&self) -> usize {
        self.batches.iter().map(|batch| batch.tokens.len()).sum()
    }

    /// What the modules of a layer get. `advances` is whether the texts go on behind it.
    pub(super) fn observe(
        &mut self,
        weights: Weights<'_>,
        layer: usize,
        wanted: Wanted,
        advances: bool,
    ) -> Result<LayerInputs, ModelError> {
        let block = self.load(weights, layer)?;
        let moe = self.config.moe.as_ref().filter(|moe| moe.is_sparse(layer));
        let mut seen = Seen { moe, tokens: self.tokens(), wanted, inputs: HashMap::new() };
        self.run(&block, Some(&mut seen), advances)?;
        Ok(seen.inputs)
    }

    /// Sends the texts through a layer.
    pub(super) fn advance(&mut self, weights: Weights<'_>, layer: usize) -> Result<(), ModelError> {
        let block = self.load(weights, layer)?;
        self.run(&block, None, true)
    }

    fn load(&self, weights: Weights<'_>, layer: usize) -> Result<Block, ModelError> {
        (self.config.architecture.block)(&Loader::quiet(&self.ctx, weights), layer)
    }

    fn run(
        &mut self,
        block: &Block,
        mut seen: Option<&mut Seen<'_>>,
        advances: bool,
    ) -> Result<(), ModelError> {
        let Self { ctx, rope, arena, kv, batches, .. } = self;
        for batch in batches {
            let rows = batch.tokens.len();
            let input = ModelInput {
                tokens: &batch.tokens,
                positions: &batch.positions,
                slots: &batch.slots,
                spans: &batch.spans,
                block_tables: &batch.block_tables,
                logit_rows: &[],
                deadline: None,
            };
            let hidden = &mut batch.hidden;
            write::<f32, _>(&arena.residual, |state| {
                state[..hidden.len()].copy_from_slice(hidden);
            })?;
            block.attention_norm.forward(ctx, rows, arena)?;
            block.attention.forward(ctx, &input, rope, kv, arena)?;
            if let Some(seen) = &mut seen {
                seen.attention(arena, rows)?;
            }
            block.feed_forward_norm.add_forward(ctx, rows, arena)?;
            block.feed_forward.forward(ctx, rows, arena)?;
            if let Some(seen) = &mut seen {
                seen.feed_forward(arena, rows)?;
            }
            if advances {
                let len = hidden.len();
                read::<f32, _>(&arena.residual, |state| hidden.copy_from_slice(&state[..len]))?;
                read::<f32, _>(&arena.delta, |delta| {
                    hidden.iter_mut().zip(delta).for_each(|(state, delta)| *state += delta);
                })?;
            }
        }
        Ok(())
    }
}

fn embed(files: &ModelFiles, batches: &mut [Batch]) -> Result<(), ModelError> {
    let table = files.weights().embedding()?;
    let width = table.k();
    for batch in batches {
        batch.hidden = vec![0.0; batch.tokens.len() * width];
        for (&token, row) in batch.tokens.iter().zip(batch.hidden.chunks_exact_mut(width)) {
            if token as usize >= table.n() {
                let expected = format!("below {}", table.n());
                let what = "calibration token";
                return Err(ModelError::Input { what, expected, got: token.to_string() });
            }
            table.dequantise_row(token as usize, row)?;
        }
    }
    Ok(())
}

/// Inputs in the making.
struct Seen<'a> {
    /// Present in a sparse layer.
    moe: Option<&'a MoeConfig>,
    /// Rows that will be seen in all.
    tokens: usize,
    wanted: Wanted,
    inputs: LayerInputs,
}

impl Seen<'_> {
    fn add(&mut self, point: Point, k: usize, rows: &[f32]) -> Result<(), ModelError> {
        let (expected, wanted) = match (point, self.moe) {
            (Point::Expert(_) | Point::ExpertActivated(_), Some(moe)) => {
                (self.tokens * moe.top_k / moe.experts, self.wanted)
            }
            // The inputs of all experts together only tell what to scale them by.
            (Point::FeedForward, Some(_)) => {
                (self.tokens, Wanted { hessian: false, ..self.wanted })
            }
            _ => (self.tokens, self.wanted),
        };
        let inputs = self.inputs.entry(point).or_insert_with(|| Inputs::new(k, expected, wanted));
        inputs.add(rows)
    }

    fn attention(&mut self, arena: &Arena, rows: usize) -> Result<(), ModelError> {
        self.tensor(Point::Attention, &arena.normed, rows)?;
        self.tensor(Point::Attended, &arena.attended, rows)
    }

    fn feed_forward(&mut self, arena: &Arena, rows: usize) -> Result<(), ModelError> {
        self.tensor(Point::FeedForward, &arena.normed, rows)?;
        let (Some(_), Some(moe)) = (self.moe, &arena.moe) else {
            return self.tensor(Point::Activated, &arena.activated, rows);
        };
        let top_k = moe.routing.top_k();
        let mut pairs = vec![Vec::new(); moe.routing.experts()];
        for (pair, &expert) in moe.routing.ids().iter().enumerate() {
            pairs[expert as usize].push(pair);
        }
        let chosen = || pairs.iter().enumerate().filter(|(_, pairs)| !pairs.is_empty());
        let k = arena.normed.dims2()?.1;
        read::<f32, _>(&arena.normed, |values| {
            chosen().try_for_each(|(expert, pairs)| {
                let rows = gather(values, k, pairs.iter().map(|pair| pair / top_k));
                self.add(Point::Expert(expert), k, &rows)
            })
        })??;
        let activated = moe.buffers.activated();
        let k = activated.dims2()?.1;
        read::<f32, _>(activated, |values| {
            chosen().try_for_each(|(expert, pairs)| {
                let rows = gather(values, k, pairs.iter().copied());
                self.add(Point::ExpertActivated(expert), k, &rows)
            })
        })?
    }

    fn tensor(&mut self, point: Point, tensor: &Tensor, rows: usize) -> Result<(), ModelError> {
        let k = tensor.dims2()?.1;
        read::<f32, _>(tensor, |values| self.add(point, k, &values[..rows * k]))?
    }
}

fn gather(values: &[f32], k: usize, rows: impl Iterator<Item = usize>) -> Vec<f32> {
    rows.flat_map(|row| &values[row * k..(row + 1) * k]).copied().collect()
}
