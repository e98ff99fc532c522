//! Engine, runner and a tiny model together: an answer does not depend on what else runs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod tiny;

use std::time::Duration;

use eitri_engine::{
    Engine, EngineConfig, EngineHandle, EngineStats, Executor, ExecutorError, FinishReason,
    GeneratedToken, Request, SamplingParams, StepLimit, StepOutput, StepPlan, TokenEvent,
    TokenStream, TokenUsage,
};
use eitri_runner::{KvDtype, MemoryPlan, Runner, RunnerConfig};

const REQUESTS: usize = 64;

struct Setup {
    num_blocks: usize,
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
    threads: usize,
    kv_dtype: KvDtype,
    max_step: Option<Duration>,
}

fn spawn(setup: &Setup) -> EngineHandle {
    let (config, runner) = parts(setup);
    Engine::spawn(config, Box::new(runner)).unwrap()
}

fn parts(setup: &Setup) -> (EngineConfig, Runner) {
    let (runner, plan) = tiny::runner(&RunnerConfig {
        threads: setup.threads,
        kv_dtype: Some(setup.kv_dtype),
        max_num_seqs: setup.max_num_seqs,
        max_num_batched_tokens: setup.max_num_batched_tokens,
        num_blocks: Some(setup.num_blocks),
        ..RunnerConfig::default()
    });
    let config = EngineConfig {
        block_size: plan.block_size,
        max_num_seqs: setup.max_num_seqs,
        max_num_batched_tokens: setup.max_num_batched_tokens,
        max_step: setup.max_step,
        ..EngineConfig::new(plan.num_blocks, plan.max_model_len)
    };
    (config, runner)
}

/// Deterministic numbers for lengths and prompts.
fn noise(seed: usize) -> usize {
    let x = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33) as usize
}

/// Prompts of 1 to 2000 tokens, short ones more often; every fourth begins like its neighbour.
fn mixed(index: usize) -> Request {
    let exponent = (noise(index) % 1000) as f64 / 1000.0;
    let len = match index {
        0 => 1,
        1 => 2000,
        _ => 2000_f64.powf(exponent).round() as usize,
    };
    let family = if index % 4 == 3 { index - 1 } else { index };
    let prompt = (0..len).map(|i| (noise(family * 10_000 + i) % tiny::VOCAB) as u32).collect();
    Request::new(prompt, params(index, 5 + noise(index + 500) % 60))
}

/// Short prompts with long answers: many start together and then outgrow the memory.
fn growing(index: usize) -> Request {
    let len = 1 + noise(index) % 40;
    let prompt = (0..len).map(|i| (noise(index * 100 + i) % tiny::VOCAB) as u32).collect();
    Request::new(prompt, params(index, 100 + noise(index + 900) % 100))
}

fn params(index: usize, max_tokens: usize) -> SamplingParams {
    let base = SamplingParams {
        max_tokens: max_tokens as u32,
        seed: Some(index as u64),
        ignore_eos: true,
        ..SamplingParams::default()
    };
    match index % 6 {
        0 | 1 => SamplingParams { temperature: 0.0, ..base },
        2 => SamplingParams { temperature: 0.7, top_k: 20, top_p: 0.95, ..base },
        3 => SamplingParams { top_p: 0.9, logprobs: Some(3), ..base },
        4 => SamplingParams { repetition_penalty: 1.3, frequency_penalty: 0.4, ..base },
        _ => SamplingParams { min_p: 0.05, presence_penalty: 0.8, min_tokens: 5, ..base },
    }
}

fn finish(mut stream: TokenStream) -> (Vec<GeneratedToken>, FinishReason, TokenUsage) {
    let mut all = Vec::new();
    loop {
        match stream.blocking_next().unwrap() {
            TokenEvent::Prompt { .. } => {}
            TokenEvent::Tokens { mut tokens, .. } => all.append(&mut tokens),
            TokenEvent::Finished { reason, usage, .. } => return (all, reason, usage),
        }
    }
}

fn shut_down(engine: &EngineHandle) {
    engine.shutdown(None);
    engine.join().unwrap();
    let stats = *engine.stats().borrow();
    assert_eq!(stats.free_blocks, stats.total_blocks);
    assert_eq!((stats.running, stats.waiting), (0, 0));
}

fn solo_answers(request: fn(usize) -> Request, kv_dtype: KvDtype) -> Vec<Vec<GeneratedToken>> {
    let engine = spawn(&Setup {
        num_blocks: 200,
        max_num_seqs: 1,
        max_num_batched_tokens: 2048,
        threads: 1,
        kv_dtype,
        max_step: None,
    });
    let answers = (0..REQUESTS).map(|index| {
        // Nothing is shared either: each run computes its whole prompt in one piece.
        let salted = Request { cache_salt: Some(index.to_string().into()), ..request(index) };
        let (tokens, reason, usage) = finish(engine.submit(salted).unwrap());
        assert_eq!((reason, usage.cached), (FinishReason::Length, 0));
        tokens
    });
    let answers = answers.collect();
    shut_down(&engine);
    answers
}

/// Runs all requests at once.
fn compare(
    request: fn(usize) -> Request,
    setup: &Setup,
    solo: &[Vec<GeneratedToken>],
) -> EngineStats {
    compare_in(&spawn(setup), request, solo)
}

fn compare_in(
    engine: &EngineHandle,
    request: fn(usize) -> Request,
    solo: &[Vec<GeneratedToken>],
) -> EngineStats {
    let mut streams: Vec<_> =
        (0..REQUESTS).map(|index| Some(engine.submit(request(index)).unwrap())).collect();
    // Every seventh client vanishes after its first event or before.
    for (index, slot) in streams.iter_mut().enumerate().skip(2).step_by(7) {
        if let Some(mut stream) = slot.take()
            && index % 2 == 0
        {
            stream.blocking_next();
        }
    }
    for (index, stream) in streams.into_iter().enumerate() {
        let Some(stream) = stream else { continue };
        let (tokens, reason, _) = finish(stream);
        assert_eq!(reason, FinishReason::Length, "request {index}");
        assert_eq!(tokens, solo[index], "request {index}");
    }
    shut_down(engine);
    let stats = *engine.stats().borrow();
    assert_eq!(stats.failed_steps, 0);
    stats
}

fn roomy() -> Setup {
    Setup {
        num_blocks: 4000,
        max_num_seqs: REQUESTS,
        max_num_batched_tokens: 300,
        threads: 2,
        kv_dtype: KvDtype::Bf16,
        max_step: None,
    }
}

#[test]
fn answers_in_a_crowd_equal_solo_runs() {
    for kv_dtype in [KvDtype::Bf16, KvDtype::F32, KvDtype::Fp8] {
        let solo = solo_answers(mixed, kv_dtype);
        assert!(solo.iter().any(|tokens| tokens[0].id != tokens[4].id), "the model is degenerate");
        let roomy = Setup { kv_dtype, ..roomy() };
        compare(mixed, &roomy, &solo);
        // The longest request alone takes 130 blocks.
        let tight =
            Setup { num_blocks: 140, max_num_seqs: 32, max_num_batched_tokens: 64, ..roomy };
        compare(mixed, &tight, &solo);
    }
}

/// Without a setting the checkpoint decides, as in vLLM.
#[test]
fn a_checkpoint_that_declares_an_fp8_cache_gets_one() {
    let declared = r#"{"quant_method": "compressed-tensors", "config_groups": {},
        "kv_cache_scheme": {"type": "float", "num_bits": 8, "strategy": "tensor"}}"#;
    let plan = |quantization, kv_dtype| {
        let config = RunnerConfig { kv_dtype, num_blocks: Some(200), ..RunnerConfig::default() };
        let plan = MemoryPlan::compute(&tiny::files(quantization), &config).unwrap();
        (plan.kv_dtype, plan.kv_cache)
    };
    // Two layers of two heads of eight dimensions, padded to sixteen for values.
    let numbers = 200 * 16 * 2 * 2 * (8 + 16);
    assert_eq!(plan("null", None), (KvDtype::Bf16, 2 * numbers));
    assert_eq!(plan(declared, None), (KvDtype::Fp8, numbers));
    assert_eq!(plan(declared, Some(KvDtype::Bf16)), (KvDtype::Bf16, 2 * numbers));
    assert_eq!(plan("null", Some(KvDtype::Fp8)), (KvDtype::Fp8, numbers));
}

/// A runner that is always late: every step with a limit is cut to what the limit asks for.
struct Late(Runner);

impl Executor for Late {
    fn submit(&mut self, plan: &StepPlan) -> Result<(), ExecutorError> {
        let mut plan = plan.clone();
        plan.limit = plan.limit.map(|limit| StepLimit { time: Duration::ZERO, ..limit });
        self.0.submit(&plan)
    }

    fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecutorError> {
        self.0.collect(output)
    }
}

#[test]
fn answers_survive_cut_steps() {
    let solo = solo_answers(mixed, KvDtype::Bf16);
    let bounded = Setup { max_step: Some(Duration::from_secs(1)), ..roomy() };
    let (config, runner) = parts(&bounded);
    let engine = Engine::spawn(config, Box::new(Late(runner))).unwrap();
    let cut = compare_in(&engine, mixed, &solo).cut_steps;
    assert!(cut >= 20, "only {cut} steps were cut");
}

#[test]
fn answers_survive_preemption() {
    let solo = solo_answers(growing, KvDtype::Bf16);
    let tight = Setup { num_blocks: 16, max_num_batched_tokens: 200, ..roomy() };
    let preemptions = compare(growing, &tight, &solo).preemptions;
    assert!(preemptions >= 100, "only {preemptions} preemptions");
}

fn small() -> Setup {
    Setup {
        num_blocks: 64,
        max_num_seqs: 8,
        max_num_batched_tokens: 128,
        threads: 1,
        kv_dtype: KvDtype::Bf16,
        max_step: None,
    }
}

#[test]
fn a_repeated_prompt_computes_one_token() {
    let engine = spawn(&small());
    let lengths = [2, 16, 17, 100, 160];
    for len in lengths {
        let prompt: Vec<u32> =
            (0..len).map(|i| (i * 5 + len) as u32 % tiny::VOCAB as u32).collect();
        let ask = || {
            let request = Request::new(prompt.clone(), SamplingParams::greedy(1));
            finish(engine.submit(request).unwrap())
        };
        let (first, second) = (ask(), ask());
        assert_eq!((second.0, second.2.cached), (first.0, len - 1));
    }
    shut_down(&engine);
    let expected: usize = lengths.iter().map(|len| len + 1).sum();
    assert_eq!(engine.stats().borrow().computed_tokens, expected as u64);
}

/// Log-probabilities of a prompt longer than the rows of logits, cut into chunks, among others.
#[test]
fn prompt_logprobs_do_not_depend_on_chunks_and_agree_with_generation() {
    let prompt: Vec<u32> = (0..300).map(|i| (noise(i) % tiny::VOCAB) as u32).collect();
    let ask = |setup: &Setup, crowd: usize| {
        let engine = spawn(setup);
        let params = SamplingParams {
            prompt_logprobs: Some(2),
            logprobs: Some(2),
            ..SamplingParams::greedy(3)
        };
        let others: Vec<_> = (0..crowd)
            .map(|i| {
                engine.submit(Request::new(vec![i as u32; 20], SamplingParams::greedy(30))).unwrap()
            })
            .collect();
        let mut stream = engine.submit(Request::new(prompt.clone(), params)).unwrap();
        let Some(TokenEvent::Prompt { logprobs, .. }) = stream.blocking_next() else {
            panic!("the prompt's values come first");
        };
        let (tokens, ..) = finish(stream);
        for stream in others {
            finish(stream);
        }
        shut_down(&engine);
        (logprobs, tokens)
    };
    let whole = Setup { max_num_batched_tokens: 512, ..small() };
    let (logprobs, tokens) = ask(&whole, 0);
    assert_eq!(logprobs.len(), prompt.len() - 1);
    assert_eq!(ask(&small(), 4), (logprobs.clone(), tokens));
    // What a greedy continuation of a prefix says about its token is what the prompt says there.
    let engine = spawn(&whole);
    for cut in [1, 64, 65, 200] {
        let params = SamplingParams { logprobs: Some(2), ..SamplingParams::greedy(1) };
        let (tokens, ..) =
            finish(engine.submit(Request::new(prompt[..cut].to_vec(), params)).unwrap());
        assert_eq!(tokens[0].logprobs.as_ref().unwrap().top, logprobs[cut - 1].top);
    }
    shut_down(&engine);
}

#[test]
fn a_token_outside_the_vocabulary_ends_its_own_request_only() {
    let engine = spawn(&small());
    let good = engine.submit(Request::new(vec![1, 2, 3], SamplingParams::greedy(20))).unwrap();
    let bad = Request::new(vec![1, 2, tiny::VOCAB as u32], SamplingParams::greedy(20));
    let (_, reason, _) = finish(engine.submit(bad).unwrap());
    let expected = format!("token {0} at position 2 is outside the vocabulary of {0}", tiny::VOCAB);
    assert_eq!(reason, FinishReason::Error(expected.into()));
    assert_eq!(finish(good).1, FinishReason::Length);
    shut_down(&engine);
}
