//! Carries out step plans.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use eitri_engine::{
    Executor, ExecutorError, PromptLogprobs, RowFailure, Sampled, StepOutput, StepPlan,
};
use eitri_kernels::{Context, ContextConfig, ProbeReport};
use eitri_models::{Deadline, LoadOptions, LoadProgress, Model, ModelConfig, ModelFiles};

use crate::{
    KvDtype, MemoryPlan, RunnerConfig, RunnerError,
    batch::{Batch, Chunk},
    kv_memory::KvMemory,
    sampler::{Choice, Sampler},
    sequences::Sequences,
    warm_up,
};

#[cfg(test)]
mod tests;

/// A model with its KV memory and sampler on the CPU.
///
/// A step runs on the thread that calls `submit` and on the context's threads; `collect` hands its
/// result over.
pub struct Runner {
    ctx: Context,
    model: Box<dyn Model>,
    kv: KvMemory,
    /// `[max_logit_rows, vocab]` f32.
    logits: Tensor,
    sequences: Sequences,
    batch: Batch,
    sampler: Sampler,
    rows: Vec<Row>,
    output: StepOutput,
    /// Step whose output was not collected yet.
    pending: Option<u64>,
    max_rows: usize,
    max_num_seqs: usize,
    max_logit_rows: usize,
    vocab: usize,
    times: StepTimes,
    /// Time that a step takes after the last layer, lately.
    tail: Duration,
    report: LoadReport,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("context", &self.ctx)
            .field("sequences", &self.sequences.len())
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// What loading did and how long it took.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Kernels that were compared with their references, and the differences.
    pub probes: Vec<ProbeReport>,
    /// Comparing kernels.
    pub probing: Duration,
    /// Reading and packing weights.
    pub weights: Duration,
    /// First steps, which grow all memory that grows.
    pub warm_up: Duration,
}

/// The longest recent time of sampling loses this share of itself with each step.
const TAIL_FADE: u32 = 32;

/// Where the time of one step went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Releases, admissions, copies, arrays.
    pub prepare: Duration,
    /// The model.
    pub forward: Duration,
    /// The sampler.
    pub sample: Duration,
}

/// State of one row of the plan while its step runs.
struct Row {
    slot: usize,
    result: RowResult,
}

enum RowResult {
    /// Nothing to report (yet).
    Open,
    Token(Choice),
    Failed(String),
}

impl Runner {
    /// Probes the kernels, loads the weights, allocates what `plan` says and runs first steps, so
    /// that later ones allocate nothing.
    ///
    /// # Errors
    /// When a kernel fails its probe, the checkpoint is damaged, or the first step fails.
    pub fn load(
        files: &ModelFiles,
        config: &RunnerConfig,
        plan: &MemoryPlan,
        progress: Option<&dyn Fn(LoadProgress)>,
    ) -> Result<Self, RunnerError> {
        config.validate()?;
        let ctx = Context::new(&ContextConfig {
            threads: config.threads,
            activations: config.activations,
            isa: None,
            on_thread_start: config.on_thread_start.clone(),
        })?;
        let start = Instant::now();
        let probes = eitri_kernels::probe(&ctx)?;
        let probing = start.elapsed();
        let options = LoadOptions {
            max_rows: config.max_num_batched_tokens,
            max_logit_rows: config.max_logit_rows(),
            max_positions: plan.max_model_len,
            progress,
        };
        let start = Instant::now();
        let model = eitri_models::load(files, &ctx, &options)?;
        let weights = start.elapsed();
        if plan.kv_dtype != KvDtype::Fp8 && !model.kv_scales().is_empty() {
            tracing::info!(
                "the checkpoint's scales of an FP8 KV cache are not used: the KV cache is {}",
                plan.kv_dtype.name()
            );
        }
        let mut runner = Self::new(ctx, model, config, plan)?;
        let start = Instant::now();
        warm_up::run(&mut runner, config, plan).map_err(RunnerError::WarmUp)?;
        runner.report = LoadReport { probes, probing, weights, warm_up: start.elapsed() };
        tracing::info!(
            isa = runner.ctx.isa().name(),
            threads = config.threads,
            kernels = runner.report.probes.len(),
            probing = ?probing,
            weights = ?weights,
            warm_up = ?runner.report.warm_up,
            "model loaded"
        );
        Ok(runner)
    }

    pub(crate) fn new(
        ctx: Context,
        model: Box<dyn Model>,
        config: &RunnerConfig,
        plan: &MemoryPlan,
    ) -> Result<Self, RunnerError> {
        let shape = model.config();
        let (vocab, layers, heads) = (shape.vocab_size, shape.layers, shape.head_shape());
        let (max_rows, max_logit_rows) = (config.max_num_batched_tokens, config.max_logit_rows());
        warm_up::reserve_scratch(&ctx, shape, max_rows);
        let logits = Tensor::zeros((max_logit_rows, vocab), DType::F32, &Device::Cpu)
            .map_err(eitri_kernels::KernelError::from)?;
        let kv_scales = model.kv_scales();
        let kv = KvMemory::new(layers, plan.num_blocks, heads, plan.kv_dtype, kv_scales)?;
        let mut output = StepOutput::default();
        output.sampled.reserve(config.max_num_seqs);
        Ok(Self {
            kv,
            logits,
            sequences: Sequences::new(&plan.limits(config)),
            batch: Batch::new(plan.block_size, max_rows, config.max_num_seqs, max_logit_rows),
            sampler: Sampler::new(vocab, max_logit_rows, config.threads),
            rows: Vec::with_capacity(config.max_num_seqs),
            output,
            pending: None,
            max_rows,
            max_num_seqs: config.max_num_seqs,
            max_logit_rows,
            vocab,
            times: StepTimes::default(),
            tail: Duration::ZERO,
            report: LoadReport::default(),
            ctx,
            model,
        })
    }

    /// Shape of the model.
    pub fn model_config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// What loading did.
    pub fn load_report(&self) -> &LoadReport {
        &self.report
    }

    /// Times of the last step.
    pub fn step_times(&self) -> StepTimes {
        self.times
    }

    fn step(&mut self, plan: &StepPlan) -> Result<(), String> {
        let start = Instant::now();
        self.times = StepTimes::default();
        self.output.clear();
        self.output.step = plan.step;
        for &id in &plan.released {
            self.sequences.release(id);
        }
        for admission in &plan.admitted {
            self.sequences.admit(admission)?;
        }
        self.kv.copy(&plan.copies).map_err(|e| e.to_string())?;
        self.open_rows(plan)?;
        // Scored prompts read no blocks that others write, so they can run before the rest.
        for index in 0..self.rows.len() {
            self.compute_scored(plan, index)?;
        }
        let computed = self.compute_others(plan, start)?;
        self.close_rows(plan, computed);
        let computing = self.times.forward + self.times.sample;
        self.times.prepare = start.elapsed().saturating_sub(computing);
        tracing::trace!(
            step = plan.step,
            rows = plan.rows.len(),
            tokens = plan.tokens.len(),
            prepare = ?self.times.prepare,
            forward = ?self.times.forward,
            sample = ?self.times.sample,
            "step"
        );
        Ok(())
    }

    /// Checks the rows against the runner's own limits and extends their block tables.
    fn open_rows(&mut self, plan: &StepPlan) -> Result<(), String> {
        let total = plan.rows.iter().fold(0_usize, |sum, row| sum.saturating_add(row.len));
        if plan.rows.len() > self.max_num_seqs || total > self.max_rows {
            return Err(format!(
                "{} rows of {total} tokens exceed max_num_seqs {} or max_num_batched_tokens {}",
                plan.rows.len(),
                self.max_num_seqs,
                self.max_rows
            ));
        }
        self.rows.clear();
        for row in &plan.rows {
            let tokens =
                plan.tokens.get(row.token_offset..row.token_offset.saturating_add(row.len));
            let end = row.block_offset.saturating_add(row.block_count);
            let blocks = plan.new_blocks.get(row.block_offset..end);
            let (Some(tokens), Some(blocks), 1..) = (tokens, blocks, row.len) else {
                return Err(format!("{row:?} is empty or reaches past the plan's lists"));
            };
            let slot = self.sequences.extend(row, tokens, blocks)?;
            let outside = tokens.iter().position(|&token| token as usize >= self.vocab);
            let result = outside.map_or(RowResult::Open, |at| {
                RowResult::Failed(format!(
                    "token {} at position {} is outside the vocabulary of {}",
                    tokens[at],
                    row.start + at,
                    self.vocab
                ))
            });
            self.rows.push(Row { slot, result });
        }
        Ok(())
    }

    /// Whether the row at `index` is still to be computed, and is one whose prompt is scored.
    fn is_due(&self, plan: &StepPlan, index: usize, scored: bool) -> bool {
        let row = &self.rows[index];
        matches!(row.result, RowResult::Open)
            && self.sequences.at(row.slot).scores(&plan.rows[index]) == scored
    }

    /// Computes a row all of whose logits are wanted, as many at a time as there is room for.
    fn compute_scored(&mut self, plan: &StepPlan, index: usize) -> Result<(), String> {
        if !self.is_due(plan, index, true) {
            return Ok(());
        }
        let row = &plan.rows[index];
        let tokens = plan.row_tokens(row);
        for (piece, tokens) in tokens.chunks(self.max_logit_rows).enumerate() {
            let offset = piece * self.max_logit_rows;
            self.batch.clear();
            let chunk = Chunk {
                row: index,
                slot: self.rows[index].slot,
                start: row.start + offset,
                sample: row.sample && offset + tokens.len() == row.len,
            };
            self.batch.push(&chunk, tokens, &self.sequences);
            self.compute(plan, None)?;
            if matches!(self.rows[index].result, RowResult::Failed(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Computes all other rows in one call of the model. Returns how many of the plan's tokens are
    /// done: with a limit, perhaps not all.
    fn compute_others(&mut self, plan: &StepPlan, start: Instant) -> Result<usize, String> {
        self.batch.clear();
        for (index, row) in plan.rows.iter().enumerate() {
            if self.is_due(plan, index, false) {
                let slot = self.rows[index].slot;
                let chunk = Chunk { row: index, slot, start: row.start, sample: row.sample };
                self.batch.push(&chunk, plan.row_tokens(row), &self.sequences);
            }
        }
        // Where the batch leaves out rows, its tokens are not the plan's, and nothing can be cut.
        let limit = plan.limit.filter(|_| self.batch.len() == plan.tokens.len());
        let deadline = limit.map(|limit| Deadline {
            at: start + limit.time.saturating_sub(self.tail),
            least_rows: limit.tokens,
        });
        let computed = self.compute(plan, deadline)?;
        Ok(if deadline.is_some() { computed } else { plan.tokens.len() })
    }

    /// Runs the model over the batch and the sampler over its logits. Returns the number of tokens
    /// that were computed.
    fn compute(&mut self, plan: &StepPlan, deadline: Option<Deadline>) -> Result<usize, String> {
        if self.batch.is_empty() {
            return Ok(0);
        }
        let start = Instant::now();
        let (batch, sequences) = (&self.batch, &self.sequences);
        let rows = self
            .model
            .forward(&self.ctx, &batch.input(sequences, deadline), self.kv.layers(), &self.logits)
            .map_err(|e| e.to_string())?;
        let computed = Instant::now();
        self.times.forward += computed - start;
        let purposes = &batch.logit_rows()[..batch.logits_of(rows)];
        let task = |index| batch.task(index, sequences);
        let outcomes = self
            .sampler
            .run(&self.ctx, &self.logits, purposes.len(), &task)
            .map_err(|e| e.to_string())?;
        for (purpose, outcome) in purposes.iter().zip(outcomes) {
            let result = &mut self.rows[purpose.row].result;
            match (outcome.take(), purpose.scored_position()) {
                (Some(Ok(choice)), None) => *result = RowResult::Token(choice),
                (Some(Ok(Choice { logprobs: Some(logprobs), .. })), Some(position)) => {
                    let id = plan.rows[purpose.row].id;
                    self.output.prompt_logprobs.push(PromptLogprobs { id, position, logprobs });
                }
                (Some(Err(error)), _) => {
                    *result = RowResult::Failed(error.to_string());
                }
                (outcome, _) => return Err(format!("the sampler returned {outcome:?}")),
            }
        }
        let sample = computed.elapsed();
        self.times.sample += sample;
        self.tail = sample.max(self.tail.saturating_sub(self.tail / TAIL_FADE));
        Ok(rows)
    }

    /// Writes the rows' results into the output, in the order of the rows.
    fn close_rows(&mut self, plan: &StepPlan, computed: usize) {
        self.output.computed = Some(computed).filter(|&computed| computed < plan.tokens.len());
        for (row, state) in plan.rows.iter().zip(self.rows.drain(..)) {
            let id = row.id;
            let kept = row.len.min(computed.saturating_sub(row.token_offset));
            if kept < row.len {
                self.sequences.cut(state.slot, row, kept);
            }
            match state.result {
                RowResult::Open => {}
                RowResult::Token(Choice { token, logprobs }) => {
                    self.output.sampled.push(Sampled { id, token, logprobs });
                }
                RowResult::Failed(message) => self.output.failed.push(RowFailure { id, message }),
            }
        }
    }
}

impl Executor for Runner {
    fn submit(&mut self, plan: &StepPlan) -> Result<(), ExecutorError> {
        self.pending = None;
        self.step(plan).map_err(|message| ExecutorError { step: plan.step, message })?;
        self.pending = Some(plan.step);
        Ok(())
    }

    fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecutorError> {
        if self.pending.take().is_none() {
            let message = "no step was submitted".to_owned();
            return Err(ExecutorError { step: self.output.step, message });
        }
        // Both sides keep their memory.
        std::mem::swap(output, &mut self.output);
        Ok(())
    }
}
