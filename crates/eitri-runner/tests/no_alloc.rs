//! A decoding step allocates nothing, but for what candle does in each in-place operation: it lists
//! the axes of the tensor that is written, 16 bytes each, in a vector that starts with room for four
//! and is dropped at once. These are told apart by their size and must not become more.

#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod tiny;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use eitri_engine::{
    Admission, BlockId, Executor, SamplingParams, ScheduledRow, SequenceId, StepOutput, StepPlan,
};
use eitri_runner::RunnerConfig;

struct Counting;

/// Allocations of any other size than [`AXES`].
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// Lists of axes.
static LISTS: AtomicUsize = AtomicUsize::new(0);
/// Bytes of candle's list of axes.
const AXES: usize = 4 * 2 * size_of::<usize>();

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let counter = if layout.size() == AXES { &LISTS } else { &CALLS };
        counter.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SEQUENCES: usize = 8;
const PROMPT: usize = 20;
const BLOCKS_EACH: usize = 16;
const STEPS: usize = 150;

/// One way through the sampler for each sequence.
fn params(sequence: usize) -> SamplingParams {
    let base = SamplingParams {
        max_tokens: 200,
        seed: Some(sequence as u64),
        ..SamplingParams::default()
    };
    match sequence {
        0 => SamplingParams::greedy(200),
        1 => base,
        2 => SamplingParams { top_k: 5, ..base },
        3 => SamplingParams { top_p: 0.9, ..base },
        4 => SamplingParams { min_p: 0.1, temperature: 0.6, ..base },
        5 => SamplingParams { top_k: 20, top_p: 0.95, temperature: 0.6, ..base },
        6 => SamplingParams { repetition_penalty: 1.1, presence_penalty: 0.5, ..base },
        _ => SamplingParams {
            frequency_penalty: 0.3,
            logit_bias: vec![(3, 1.0)],
            min_tokens: 100,
            stop_token_ids: vec![4],
            ..base
        },
    }
}

fn prefill() -> StepPlan {
    let mut plan = StepPlan { step: 1, ..StepPlan::default() };
    for sequence in 0..SEQUENCES {
        let id = SequenceId(sequence as u64);
        let tokens: Vec<u32> = (0..PROMPT as u32).map(|i| i * 7 % tiny::VOCAB as u32).collect();
        plan.rows.push(ScheduledRow {
            id,
            start: 0,
            len: PROMPT,
            token_offset: plan.tokens.len(),
            block_offset: plan.new_blocks.len(),
            block_count: 2,
            sample: true,
        });
        plan.tokens.extend(&tokens);
        plan.new_blocks
            .extend([0, 1].map(|block| BlockId((sequence * BLOCKS_EACH + block) as u32)));
        let params = Arc::new(params(sequence));
        plan.admitted.push(Admission { id, tokens, prompt_len: PROMPT, params });
    }
    plan
}

/// The plan that follows `output`, in the memory of the one before.
fn decode(plan: &mut StepPlan, output: &StepOutput, position: usize) {
    plan.step += 1;
    plan.admitted.clear();
    plan.tokens.clear();
    plan.new_blocks.clear();
    for (at, (row, sampled)) in plan.rows.iter_mut().zip(&output.sampled).enumerate() {
        let grows = position.is_multiple_of(16);
        (row.start, row.len, row.token_offset) = (position, 1, at);
        (row.block_offset, row.block_count) = (plan.new_blocks.len(), usize::from(grows));
        plan.tokens.push(sampled.token);
        if grows {
            plan.new_blocks.push(BlockId((at * BLOCKS_EACH + position / 16) as u32));
        }
    }
}

#[test]
fn decoding_allocates_nothing_after_warm_up() {
    let config = RunnerConfig {
        threads: 2,
        max_num_seqs: SEQUENCES,
        max_num_batched_tokens: 256,
        num_blocks: Some(SEQUENCES * BLOCKS_EACH),
        ..RunnerConfig::default()
    };
    let (mut runner, _) = tiny::runner(&config);
    let mut plan = prefill();
    let mut output = StepOutput::default();
    runner.submit(&plan).unwrap();
    runner.collect(&mut output).unwrap();
    let (mut calls, mut lists, mut lists_per_step) = (0, 0, 0);
    for step in 0..STEPS {
        assert_eq!(output.sampled.len(), SEQUENCES);
        decode(&mut plan, &output, PROMPT + step);
        output.clear();
        let lists_before = LISTS.load(Ordering::Relaxed);
        // Two steps of warm-up: the caller's output and the runner's change places.
        if step == 2 {
            (calls, lists) = (CALLS.load(Ordering::Relaxed), lists_before);
        }
        runner.submit(&plan).unwrap();
        runner.collect(&mut output).unwrap();
        lists_per_step = LISTS.load(Ordering::Relaxed) - lists_before;
    }
    assert_eq!(CALLS.load(Ordering::Relaxed) - calls, 0, "allocations while decoding");
    assert_eq!(LISTS.load(Ordering::Relaxed) - lists, lists_per_step * (STEPS - 2));
    // The counter counts.
    let boxed = std::hint::black_box(Box::new(7));
    assert!(CALLS.load(Ordering::Relaxed) > calls, "{boxed}");
}
