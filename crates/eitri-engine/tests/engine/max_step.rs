//! The bound on step time, under a clock that runs as fast as a made-up device.

use std::{sync::Arc, sync::Mutex, time::Duration};

use eitri_engine::{EngineConfig, EngineCore, Request, SamplingParams, SimExecutor, StepPlan};

use crate::world::{Clock, VOCAB, config, core_with};

const MAX_STEP: Duration = Duration::from_millis(40);

type Steps = Arc<Mutex<Vec<(usize, usize, Duration)>>>;

/// 3 ms, 1 ms per decoding row, 0.1 ms per prompt token, 1 ms per 10,000 pairs of tokens.
fn device_time(plan: &StepPlan) -> Duration {
    let rows = plan.rows.iter().map(|row| {
        if row.len == 1 {
            1000 + row.start / 10
        } else {
            100 * row.len + row.len * (row.start + row.len / 2) / 10
        }
    });
    Duration::from_micros(3000 + rows.sum::<usize>() as u64)
}

/// An engine over that device; notes decoding rows, prompt tokens and time of each step.
fn engine(max_step: Duration) -> (EngineCore, Steps) {
    let config = EngineConfig {
        max_step: Some(max_step),
        max_num_seqs: 16,
        max_num_batched_tokens: 2048,
        max_model_len: 8192,
        ..config(1024, 16)
    };
    let (clock, steps) = (Clock::default(), Steps::default());
    let (time, noted) = (clock.clone(), Arc::clone(&steps));
    let sim = SimExecutor::new(VOCAB, 1024, 16).on_step(move |plan| {
        let spent = device_time(plan);
        time.advance(spent);
        let decoding = plan.rows.iter().filter(|row| row.len == 1).count();
        noted.lock().unwrap().push((decoding, plan.tokens.len() - decoding, spent));
        Ok(())
    });
    (core_with(&config, sim, &clock), steps)
}

fn request(seed: u32, len: usize, max_tokens: u32) -> Request {
    let prompt = (0..len as u32).map(|at| (at * 3 + at / 5 + seed) % VOCAB).collect();
    Request::new(prompt, SamplingParams::greedy(max_tokens))
}

#[test]
fn a_long_prompt_delays_no_decoding_sequence_beyond_the_bound() {
    let (mut core, steps) = engine(MAX_STEP);
    let decoding: Vec<_> =
        (0..8).map(|seed| core.submit(request(seed, 50, 2000)).unwrap()).collect();
    while core.stats().prompt_tokens < 8 * 50 {
        core.step().unwrap();
    }
    for round in 0..3 {
        let begun = steps.lock().unwrap().len();
        let _long = core.submit(request(round, 4000, 1)).unwrap();
        while core.stats().finished.length < u64::from(round) + 1 {
            core.step().unwrap();
        }
        let steps = steps.lock().unwrap();
        let ridden = &steps[begun..];
        assert!(ridden.iter().all(|&(decoding, ..)| decoding >= 8));
        let slowest = ridden.iter().map(|&(.., spent)| spent).max().unwrap();
        assert!(slowest <= MAX_STEP, "{slowest:?} in {ridden:?}");
        // The chunks use what the bound leaves.
        let total: Duration = ridden.iter().map(|&(.., spent)| spent).sum();
        assert!(total > MAX_STEP * ridden.len() as u32 / 2, "{ridden:?}");
    }
    drop(decoding);
}

#[test]
fn steps_that_nobody_waits_for_may_take_longer_but_not_for_ever() {
    let (mut core, steps) = engine(MAX_STEP);
    for seed in 0..4 {
        let _stream = core.submit(request(seed, 6000, 1)).unwrap();
        while core.step().unwrap() {}
    }
    let steps = steps.lock().unwrap();
    let slowest = steps.iter().map(|&(.., spent)| spent).max().unwrap();
    assert!(slowest > MAX_STEP && slowest <= MAX_STEP * 4, "{slowest:?}");
}

#[test]
fn a_bound_that_cannot_be_kept_does_not_starve_prompts() {
    let (mut core, steps) = engine(Duration::from_millis(1));
    let _decoding = core.submit(request(0, 10, 2000)).unwrap();
    core.step().unwrap();
    core.step().unwrap();
    let _long = core.submit(request(1, 1600, 1)).unwrap();
    let begun = steps.lock().unwrap().len();
    while core.stats().finished.length == 0 {
        core.step().unwrap();
    }
    assert!(steps.lock().unwrap().len() - begun <= 1600 / 16 + 1);
}
