//! Random short lives of an engine: every step leaves its books in order, and every answer equals
//! the one that its request gets alone.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU8, Ordering},
    },
    time::Duration,
};

use eitri_engine::{
    EngineConfig, EngineCore, EngineStats, FinishReason, Request, SamplingParams, SchedulingPolicy,
    SimExecutor, SubmitError, TokenStream,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::world::{Clock, VOCAB, answers, core_with, solo};

/// Together with the other tests here at least 100,000 schedules.
const CASES: u32 = 30_000;

#[derive(Debug, Clone)]
struct Submission {
    text: u8,
    prompt_len: usize,
    max_tokens: u32,
    n: u32,
    priority: i32,
    /// Bits that turn rarer features on.
    features: u16,
    seed: u8,
}

#[derive(Debug, Clone)]
enum Action {
    Submit(Submission),
    Drop(usize),
    Abort(usize),
    ResetCache,
    FailStep,
    FailRow,
}

#[derive(Debug, Clone)]
struct Schedule {
    num_blocks: usize,
    block_size: usize,
    max_num_seqs: usize,
    extra_budget: usize,
    flags: u8,
    /// Each with the number of steps that follow.
    actions: Vec<(Action, usize)>,
}

fn submission() -> impl Strategy<Value = Submission> {
    let prompt_len = prop_oneof![2 => 1..24usize, 1 => 16..48usize];
    (0..6u8, prompt_len, 1..10u32, 0..8u32, -1..2i32, any::<u16>(), 0..3u8).prop_map(
        |(text, prompt_len, max_tokens, n, priority, features, seed)| Submission {
            text,
            prompt_len,
            max_tokens,
            n: n.saturating_sub(4).max(1),
            priority,
            features,
            seed,
        },
    )
}

fn schedule(failures: bool) -> impl Strategy<Value = Schedule> {
    let rare = if failures { 2 } else { 0 };
    let action = prop_oneof![
        12 => submission().prop_map(Action::Submit),
        2 => (0..8usize).prop_map(Action::Drop),
        1 => (0..8usize).prop_map(Action::Abort),
        1 => Just(Action::ResetCache),
        rare => Just(Action::FailStep),
        rare => Just(Action::FailRow),
    ];
    let actions = prop::collection::vec((action, 0..5usize), 1..14);
    (2..12usize, 1..7usize, 1..6usize, 0..40usize, any::<u8>(), actions).prop_map(
        |(num_blocks, block_size, max_num_seqs, extra_budget, flags, actions)| Schedule {
            num_blocks,
            block_size,
            max_num_seqs,
            extra_budget,
            flags,
            actions,
        },
    )
}

fn config(schedule: &Schedule, caching: bool, policy: SchedulingPolicy) -> EngineConfig {
    let flag = |bit: u8| schedule.flags & bit != 0;
    EngineConfig {
        block_size: schedule.block_size,
        max_num_seqs: schedule.max_num_seqs,
        max_num_batched_tokens: schedule.max_num_seqs + schedule.extra_budget,
        prefix_caching: caching,
        policy,
        max_step: flag(1).then_some(Duration::from_millis(if flag(16) { 3 } else { 12 })),
        long_prefill_token_threshold: flag(2).then_some(3),
        max_queued: flag(4).then_some(3),
        ..EngineConfig::new(schedule.num_blocks, if flag(8) { 20 } else { 1000 })
    }
}

/// Prompts are prefixes of few texts, so that they meet each other's blocks.
fn request(submission: &Submission) -> Request {
    let bit = |bit: u16| submission.features & bit == bit;
    let parts_at = 5 + 4 * (submission.text as usize / 3);
    let prompt = (0..submission.prompt_len).map(|at| {
        let text = if at < parts_at { submission.text % 2 } else { submission.text };
        (at as u32 * 5 + at as u32 / 3 + u32::from(text)) % VOCAB
    });
    let mut params = SamplingParams::greedy(submission.max_tokens);
    params.seed = Some(u64::from(submission.seed));
    params.temperature = if bit(1) { 1.0 } else { 0.0 };
    params.eos_token_ids = if bit(2 | 4) { Arc::from([3]) } else { Arc::from([]) };
    params.stop_token_ids = if bit(8 | 16) { vec![3, 5] } else { Vec::new() };
    params.min_tokens = if bit(32) { submission.max_tokens / 2 } else { 0 };
    params.ignore_eos = bit(64 | 2);
    params.prompt_logprobs = bit(128 | 256).then_some(1);
    params.logprobs = bit(512).then_some(2);
    let mut request = Request::new(prompt.collect(), params);
    request.n = submission.n;
    request.priority = submission.priority;
    request.deadline = bit(1024 | 2048).then_some(Duration::from_millis(25));
    request.max_ttft = bit(1024 | 4096).then_some(Duration::from_millis(6));
    request.cache_salt = bit(8192 | 16384 | 32).then(|| Arc::from("other"));
    request
}

struct Client {
    request: Request,
    stream: TokenStream,
}

struct Run {
    core: EngineCore,
    config: EngineConfig,
    clock: Clock,
    clients: Vec<Client>,
    continuations: u64,
    /// Failure to come: 1 for the next step, 2 for the next row.
    failure: Arc<AtomicU8>,
    failed: bool,
    held: Arc<AtomicI64>,
}

impl Run {
    fn new(config: EngineConfig) -> Self {
        let (clock, failure) = (Clock::default(), Arc::new(AtomicU8::new(0)));
        let held = Arc::new(AtomicI64::new(0));
        let (on_step, on_row) = (Arc::clone(&failure), Arc::clone(&failure));
        let mut failed_last = false;
        let (time, count) = (clock.clone(), Arc::clone(&held));
        let sim = SimExecutor::new(VOCAB, config.num_blocks, config.block_size)
            .on_step(move |plan| {
                let tokens = plan.tokens.len() as u32;
                time.advance(Duration::from_micros(200) * tokens + Duration::from_millis(1));
                count.fetch_add(plan.admitted.len() as i64, Ordering::Relaxed);
                count.fetch_sub(plan.released.len() as i64, Ordering::Relaxed);
                // Several in a row would end the engine, which is another test's subject.
                let due = on_step.compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed);
                failed_last = due.is_ok() && !failed_last;
                if failed_last { Err("injected".to_owned()) } else { Ok(()) }
            })
            .on_limit(|plan| {
                // Any number will do; this one differs from step to step and repeats with the run.
                (plan.step as usize).wrapping_mul(2_654_435_761) % (2 * plan.tokens.len())
            })
            .on_row(move |_| {
                let fails = on_row.compare_exchange(2, 0, Ordering::Relaxed, Ordering::Relaxed);
                fails.is_ok().then(|| "injected".to_owned())
            });
        let core = core_with(&config, sim, &clock);
        Self {
            core,
            config,
            clock,
            clients: Vec::new(),
            continuations: 0,
            failure,
            failed: false,
            held,
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Submit(submission) => self.submit(request(submission)),
            Action::Drop(which) if *which < self.clients.len() => {
                self.clients.swap_remove(*which);
            }
            Action::Abort(which) => {
                if let Some(client) = self.clients.get_mut(*which) {
                    client.stream.abort();
                }
            }
            Action::Drop(_) => self.clock.advance(Duration::from_millis(2)),
            Action::ResetCache => {
                self.core.reset_prefix_cache();
                assert_eq!(self.core.stats().cached_blocks, 0);
            }
            Action::FailStep => self.fail(1),
            Action::FailRow => self.fail(2),
        }
    }

    fn fail(&mut self, failure: u8) {
        self.failure.store(failure, Ordering::Relaxed);
        self.failed = true;
    }

    fn submit(&mut self, request: Request) {
        let len = request.prompt.len();
        match self.core.submit(request.clone()) {
            Ok(stream) => {
                self.continuations += u64::from(request.n);
                self.clients.push(Client { request, stream });
            }
            Err(SubmitError::PromptTooLong { .. }) => assert!(len >= self.config.max_model_len),
            Err(SubmitError::DoesNotFit { .. }) => {
                assert!(len >= self.config.num_blocks * self.config.block_size);
            }
            Err(SubmitError::QueueFull { waiting }) => assert_eq!(waiting, 3),
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns false when there was nothing to do.
    fn step(&mut self) -> bool {
        let worked = self.core.step().unwrap();
        self.core.check_invariants().unwrap();
        let plan = self.core.last_plan();
        assert!(plan.tokens.len() <= self.config.max_num_batched_tokens);
        assert!(plan.rows.len() <= self.config.max_num_seqs);
        let stats = self.core.stats();
        assert!(stats.running <= self.config.max_num_seqs);
        worked
    }

    fn finish(mut self) -> EngineStats {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 5000, "not done: {:?}", self.core.stats());
        }
        let stats = self.core.stats();
        assert_eq!(stats.free_blocks, self.config.num_blocks);
        assert_eq!((stats.running, stats.waiting), (0, 0));
        assert_eq!(stats.finished.total(), self.continuations);
        if !self.failed {
            assert_eq!(self.held.load(Ordering::Relaxed), 0, "the executor still holds sequences");
            assert_eq!(stats.finished.error, 0);
        }
        for client in &mut self.clients {
            check(client, &self.config);
        }
        stats
    }
}

fn check(client: &mut Client, config: &EngineConfig) {
    let request = &client.request;
    for (index, answer) in answers(&mut client.stream, request.n as usize).into_iter().enumerate() {
        let (expected, expected_reason) = solo(request, index as u32, config.max_sequence_len());
        let (reason, usage) = answer.end.expect("an end");
        assert_eq!(usage.prompt, request.prompt.len());
        assert!(usage.cached < usage.prompt);
        if !answer.tokens.is_empty() {
            let positions = request.params.prompt_logprobs.map(|_| request.prompt.len() - 1);
            assert_eq!(answer.prompt_logprobs, positions);
        }
        match reason {
            FinishReason::Abort | FinishReason::Deadline => {}
            FinishReason::Error(message) => assert!(message.contains("injected"), "{message}"),
            reason => {
                assert_eq!((&answer.tokens, &reason), (&expected, &expected_reason));
                assert_eq!(usage.generated, expected.len());
            }
        }
        assert!(expected.starts_with(&answer.tokens), "{:?} of {expected:?}", answer.tokens);
    }
}

fn live(schedule: &Schedule, caching: bool, policy: SchedulingPolicy) -> EngineStats {
    let mut run = Run::new(config(schedule, caching, policy));
    for (action, steps) in &schedule.actions {
        run.act(action);
        for _ in 0..*steps {
            run.step();
        }
    }
    run.finish()
}

/// The same schedules on every run, so that a failure can be repeated. What matters must have
/// happened often, or the schedules prove little.
fn for_each_schedule(
    seed: u8,
    failures: bool,
    live: impl Fn(&Schedule) -> EngineStats,
) -> EngineStats {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let sum = RefCell::new(EngineStats::default());
    TestRunner::new_with_rng(config, rng)
        .run(&schedule(failures), |schedule| {
            let stats = live(&schedule);
            let sum = &mut *sum.borrow_mut();
            sum.steps += stats.steps;
            sum.preemptions += stats.preemptions;
            sum.cut_steps += stats.cut_steps;
            sum.block_copies += stats.block_copies;
            sum.prefix_hit_tokens += stats.prefix_hit_tokens;
            sum.failed_steps += stats.failed_steps;
            for (sum, count) in [
                (&mut sum.finished.eos, stats.finished.eos),
                (&mut sum.finished.stop_token, stats.finished.stop_token),
                (&mut sum.finished.length, stats.finished.length),
                (&mut sum.finished.abort, stats.finished.abort),
                (&mut sum.finished.deadline, stats.finished.deadline),
                (&mut sum.finished.error, stats.finished.error),
            ] {
                *sum += count;
            }
            Ok(())
        })
        .unwrap();
    let sum = sum.into_inner();
    println!("{sum:#?}");
    assert!(sum.steps > 5 * u64::from(CASES));
    assert!(sum.preemptions > 5_000 && sum.block_copies > 5_000);
    assert!(sum.cut_steps > 500);
    let ends = sum.finished;
    for ended in [ends.eos, ends.stop_token, ends.length, ends.abort, ends.deadline] {
        assert!(ended > 1_000, "{ends:?}");
    }
    sum
}

#[test]
fn first_come_first_served_with_cache() {
    let sum = for_each_schedule(1, false, |s| live(s, true, SchedulingPolicy::Fcfs));
    assert!(sum.prefix_hit_tokens > 50_000);
}

#[test]
fn priorities_with_cache() {
    let sum = for_each_schedule(2, false, |s| live(s, true, SchedulingPolicy::Priority));
    assert!(sum.prefix_hit_tokens > 50_000);
}

#[test]
fn without_cache() {
    let sum = for_each_schedule(3, false, |s| live(s, false, SchedulingPolicy::Priority));
    assert_eq!(sum.prefix_hit_tokens, 0);
}

#[test]
fn with_failing_steps_and_rows() {
    let sum = for_each_schedule(4, true, |s| live(s, true, SchedulingPolicy::Priority));
    assert!(sum.failed_steps > 2_000 && sum.finished.error > 5_000);
}
