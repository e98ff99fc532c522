//! First steps, so that everything that grows has grown before the first request.

use std::sync::Arc;

use eitri_engine::{
    Admission, BlockId, Executor, SamplingParams, ScheduledRow, SequenceId, StepOutput, StepPlan,
};
use eitri_kernels::Context;
use eitri_models::ModelConfig;

use crate::{MemoryPlan, Runner, RunnerConfig};

/// Rows and prompt tokens of the largest first step: enough to touch every kind of memory, and a
/// small part of the time that loading the weights takes.
const MOST: usize = 32;

/// Reserves address space for the operations' intermediate values in the largest step.
pub(crate) fn reserve_scratch(ctx: &Context, model: &ModelConfig, max_rows: usize) {
    let mut scratch = ctx.scratch();
    scratch.bytes.reserve(scratch_bytes(model, max_rows));
    scratch.indices.reserve(pairs(model, max_rows));
}

/// Bytes of quantised activations in the largest step, for the memory plan: one per value, and one
/// scale and one sum per 32 values.
pub(crate) fn scratch_bytes(model: &ModelConfig, max_rows: usize) -> usize {
    let shape = model.head_shape();
    let dense = model.hidden_size.max(shape.heads * shape.head_dim).max(model.intermediate_size);
    let experts = model.moe.as_ref().map_or(0, |moe| moe.intermediate_size * moe.top_k);
    dense.max(experts).max(1) * max_rows * 5 / 4
}

fn pairs(model: &ModelConfig, max_rows: usize) -> usize {
    max_rows * model.moe.as_ref().map_or(1, |moe| moe.top_k.max(1))
}

/// One decoding row, then a prompt with its first token, then as many rows as may decode together.
pub(crate) fn run(
    runner: &mut Runner,
    config: &RunnerConfig,
    plan: &MemoryPlan,
) -> Result<(), String> {
    let prompt =
        MOST.min(config.max_num_batched_tokens).min(plan.kv_tokens()).min(plan.max_model_len);
    let rows = MOST.min(config.max_num_seqs).min(plan.num_blocks);
    for (rows, len) in [(1, 1), (1, prompt), (rows, 1)] {
        step(runner, rows, len, plan.block_size)?;
    }
    Ok(())
}

fn step(runner: &mut Runner, rows: usize, len: usize, block_size: usize) -> Result<(), String> {
    let mut plan = StepPlan::default();
    let blocks = len.div_ceil(block_size);
    for row in 0..rows {
        let id = SequenceId(row as u64);
        // Every second row takes the longest way through the sampler.
        let temperature = (row % 2) as f32;
        let params = Arc::new(SamplingParams {
            temperature,
            top_p: 0.95,
            seed: Some(0),
            ..SamplingParams::default()
        });
        plan.admitted.push(Admission { id, tokens: vec![0; len], prompt_len: len, params });
        plan.rows.push(ScheduledRow {
            id,
            start: 0,
            len,
            token_offset: plan.tokens.len(),
            block_offset: plan.new_blocks.len(),
            block_count: blocks,
            sample: true,
        });
        plan.tokens.resize(plan.tokens.len() + len, 0);
        plan.new_blocks.extend((row * blocks..(row + 1) * blocks).map(|b| BlockId(b as u32)));
    }
    let mut output = StepOutput::default();
    runner.submit(&plan).map_err(|e| e.message)?;
    runner.collect(&mut output).map_err(|e| e.message)?;
    if let Some(failure) = output.failed.first() {
        return Err(failure.message.clone());
    }
    let release =
        StepPlan { released: plan.rows.iter().map(|row| row.id).collect(), ..StepPlan::default() };
    runner.submit(&release).map_err(|e| e.message)?;
    runner.collect(&mut output).map_err(|e| e.message)
}
