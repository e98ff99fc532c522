//! Runs a loaded model over paged memory, in any number of sequences and chunks.

use std::{path::Path, time::Instant};

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    Activations, Context, ContextConfig, KvLayer, WeightFormat,
    ops::{SequenceSpan, kernel_name},
    read,
};
use eitri_models::{Deadline, LoadOptions, Model, ModelError, ModelFiles, ModelInput, load};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};

const MAX_ROWS: usize = 1024;
const BLOCK: usize = 16;

/// A model with memory for `blocks` blocks and logits of every row.
pub(crate) struct Harness {
    pub(crate) ctx: Context,
    pub(crate) model: Box<dyn Model>,
    kv: Vec<KvLayer>,
    logits: Tensor,
    blocks: usize,
}

impl Harness {
    pub(crate) fn open(
        path: &Path,
        activations: Activations,
        threads: usize,
    ) -> Result<Self, ModelError> {
        Self::load(&ModelFiles::open(path)?, activations, threads)
    }

    pub(crate) fn load(
        files: &ModelFiles,
        activations: Activations,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let config = ContextConfig { threads, activations, ..ContextConfig::default() };
        let ctx = Context::new(&config)?;
        let options = LoadOptions {
            max_rows: MAX_ROWS,
            max_logit_rows: MAX_ROWS,
            max_positions: 2048,
            progress: None,
        };
        let model = load(files, &ctx, &options)?;
        let blocks = 160;
        let shape = model.config().head_shape();
        let kv = (0..model.config().layers)
            .map(|_| KvLayer::new(blocks, BLOCK, shape, DType::F32))
            .collect::<Result<_, _>>()?;
        let vocab = model.config().vocab_size;
        let logits = Tensor::zeros((MAX_ROWS, vocab), DType::F32, &Device::Cpu)?;
        Ok(Self { ctx, model, kv, logits, blocks })
    }

    /// The same with keys and values in FP8, with the checkpoint's scales.
    pub(crate) fn with_fp8_kv(mut self) -> Self {
        let config = self.model.config();
        let layer = |layer: usize| {
            let kv = KvLayer::new(self.blocks, BLOCK, config.head_shape(), DType::F8E4M3).unwrap();
            match self.model.kv_scales().get(layer) {
                Some(scales) => kv.with_scales(scales.clone()).unwrap(),
                None => kv,
            }
        };
        self.kv = (0..config.layers).map(layer).collect();
        self
    }

    /// Logits at every position of a prompt computed at once.
    pub(crate) fn prompt(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let table: Vec<u32> = (0..tokens.len().div_ceil(BLOCK) as u32).collect();
        let mut batch = Batch::default();
        batch.add(tokens, 0, tokens.len(), &table);
        self.step(&batch).unwrap()
    }

    /// Logits at every position of every prompt, cut into random chunks that share steps, with
    /// block tables scattered over the memory.
    pub(crate) fn prompts_in_chunks(
        &mut self,
        prompts: &[Vec<u32>],
        rng: &mut StdRng,
    ) -> Vec<Vec<Vec<f32>>> {
        let mut free: Vec<u32> = (0..self.blocks as u32).collect();
        free.shuffle(rng);
        let tables: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| free.split_off(free.len() - prompt.len().div_ceil(BLOCK)))
            .collect();
        let mut done = vec![Vec::new(); prompts.len()];
        while (0..prompts.len()).any(|i| done[i].len() < prompts[i].len()) {
            let mut batch = Batch::default();
            let mut owners = Vec::new();
            for (i, prompt) in prompts.iter().enumerate() {
                let (start, left) = (done[i].len(), prompt.len() - done[i].len());
                if left > 0 && rng.random_range(0..4) > 0 {
                    let len = rng.random_range(1..=left.min(97));
                    batch.add(prompt, start, len, &tables[i]);
                    owners.extend(std::iter::repeat_n(i, len));
                }
            }
            for (owner, row) in owners.into_iter().zip(self.step(&batch).unwrap()) {
                done[owner].push(row);
            }
        }
        done
    }

    /// The most likely continuation, one token a step.
    pub(crate) fn greedy(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut tokens = prompt.to_vec();
        let total = prompt.len() + count;
        let table: Vec<u32> = (0..total.div_ceil(BLOCK) as u32).rev().collect();
        while tokens.len() < total {
            let start = if tokens.len() == prompt.len() { 0 } else { tokens.len() - 1 };
            let mut batch = Batch::default();
            batch.add(&tokens, start, tokens.len() - start, &table);
            let rows = self.step(&batch).unwrap();
            tokens.push(argmax(rows.last().unwrap()) as u32);
        }
        tokens.split_off(prompt.len())
    }

    pub(crate) fn step(&mut self, batch: &Batch) -> Result<Vec<Vec<f32>>, ModelError> {
        let input = ModelInput {
            tokens: &batch.tokens,
            positions: &batch.positions,
            slots: &batch.slots,
            spans: &batch.spans,
            block_tables: &batch.block_tables,
            logit_rows: &(0..batch.tokens.len() as u32).collect::<Vec<_>>(),
            deadline: batch
                .least_rows
                .map(|rows| Deadline { at: Instant::now(), least_rows: rows }),
        };
        let rows = self.model.forward(&self.ctx, &input, &self.kv, &self.logits)?;
        let vocab = self.model.config().vocab_size;
        Ok(read::<f32, _>(&self.logits, |logits| {
            logits.chunks(vocab).take(rows).map(<[f32]>::to_vec).collect()
        })?)
    }
}

/// The parts of a [`ModelInput`].
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) tokens: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) slots: Vec<u32>,
    pub(crate) spans: Vec<SequenceSpan>,
    pub(crate) block_tables: Vec<u32>,
    /// Compute no more than these, since the deadline has passed.
    pub(crate) least_rows: Option<usize>,
}

impl Batch {
    /// Adds `len` tokens of a sequence from `start` on.
    pub(crate) fn add(&mut self, tokens: &[u32], start: usize, len: usize, table: &[u32]) {
        let (row, offset) = (self.tokens.len(), self.block_tables.len());
        self.spans.push(SequenceSpan { row, len, context: start + len, table: offset });
        self.block_tables.extend_from_slice(table);
        for position in start..start + len {
            self.tokens.push(tokens[position]);
            self.positions.push(position as u32);
            self.slots.push(table[position / BLOCK] * BLOCK as u32 + (position % BLOCK) as u32);
        }
    }
}

pub(crate) fn argmax(row: &[f32]) -> usize {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.unwrap().0
}

/// Random token ids.
pub(crate) fn random_tokens(len: usize, vocab: usize, rng: &mut StdRng) -> Vec<u32> {
    (0..len).map(|_| rng.random_range(0..vocab as u32)).collect()
}

/// Whether activations of the default kind are rounded to bf16 where they meet bf16 weights.
pub(crate) fn rounds_to_bf16() -> bool {
    let ctx = Context::new(&ContextConfig::default()).unwrap();
    kernel_name(&ctx, WeightFormat::Bf16).ends_with("bf16 x bf16")
}

/// Of activations rounded to bf16: each is off by up to 2^-8 of itself, 0.15 % in the mean. Eight such
/// products follow each other, and their errors add as squares: 0.42 %, and more as gates and norms
/// pass them on.
pub(crate) const BF16_RELATIVE: f64 = 0.0075;
/// The largest of 18,000 such errors.
pub(crate) const BF16_LARGEST: f32 = 0.05;

/// The largest difference; also checks that the most likely tokens agree wherever `want` prefers
/// one by more than twice the tolerance, and returns the share of positions where it does.
pub(crate) fn compare(got: &[Vec<f32>], want: &[Vec<f32>], tolerance: f32) -> (f32, f32) {
    assert_eq!(got.len(), want.len());
    let (mut largest, mut clear) = (0.0_f32, 0);
    for (position, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!(got.is_finite());
            largest = largest.max((got - want).abs());
        }
        let mut sorted = want.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        if sorted[0] - sorted[1] > 2.0 * tolerance {
            clear += 1;
            assert_eq!(argmax(got), argmax(want), "greedy token at position {position}");
        }
    }
    (largest, clear as f32 / got.len() as f32)
}
