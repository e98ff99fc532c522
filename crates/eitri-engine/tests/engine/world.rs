//! An engine core under a clock that the test moves, and what its clients receive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use eitri_engine::{
    EngineConfig, EngineCore, FinishReason, Request, SamplingParams, SimExecutor, TokenEvent,
    TokenId, TokenStream, TokenUsage,
};

pub(crate) const VOCAB: u32 = 7;

#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(crate) fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

pub(crate) fn config(num_blocks: usize, block_size: usize) -> EngineConfig {
    EngineConfig {
        block_size,
        max_num_seqs: 8,
        max_num_batched_tokens: 64,
        ..EngineConfig::new(num_blocks, 1000)
    }
}

pub(crate) fn core_with(config: &EngineConfig, sim: SimExecutor, clock: &Clock) -> EngineCore {
    let (base, clock) = (Instant::now(), clock.clone());
    let now = move || base + Duration::from_nanos(clock.0.load(Ordering::Relaxed));
    EngineCore::with_clock(config.clone(), Box::new(sim), Box::new(now)).unwrap()
}

pub(crate) fn core(config: &EngineConfig) -> EngineCore {
    let sim = SimExecutor::new(VOCAB, config.num_blocks, config.block_size);
    core_with(config, sim, &Clock::default())
}

/// Steps until nothing is left to do; returns the number of steps.
pub(crate) fn drain(core: &mut EngineCore) -> usize {
    for step in 0..5000 {
        if !core.step().unwrap() {
            return step;
        }
        core.check_invariants().unwrap();
    }
    panic!("not done after 5000 steps: {:?}", core.stats());
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) prompt_logprobs: Option<usize>,
    pub(crate) end: Option<(FinishReason, TokenUsage)>,
}

/// Reads a stream to its end.
pub(crate) fn answers(stream: &mut TokenStream, n: usize) -> Vec<Answer> {
    let mut answers = vec![Answer::default(); n];
    while let Some(event) = stream.blocking_next() {
        note(&mut answers, event);
    }
    answers
}

pub(crate) fn note(answers: &mut [Answer], event: TokenEvent) {
    let (TokenEvent::Prompt { index, .. }
    | TokenEvent::Tokens { index, .. }
    | TokenEvent::Finished { index, .. }) = event;
    let answer = &mut answers[index as usize];
    assert_eq!(answer.end, None, "an event after the end: {event:?}");
    match event {
        TokenEvent::Prompt { logprobs, .. } => {
            assert!(answer.tokens.is_empty() && answer.prompt_logprobs.is_none());
            answer.prompt_logprobs = Some(logprobs.len());
        }
        TokenEvent::Tokens { tokens, .. } => {
            assert!(!tokens.is_empty());
            answer.tokens.extend(tokens.iter().map(|token| token.id));
        }
        TokenEvent::Finished { reason, usage, .. } => answer.end = Some((reason, usage)),
    }
}

/// What continuation `index` gives when it runs alone, and why it ends.
pub(crate) fn solo(request: &Request, index: u32, max_len: usize) -> (Vec<TokenId>, FinishReason) {
    let mut params: SamplingParams = request.params.clone();
    params.seed = params.seed.map(|seed| seed.wrapping_add(u64::from(index)));
    let room = max_len - request.prompt.len();
    let len = room.min(params.max_tokens as usize);
    let mut tokens = SimExecutor::continuation(&request.prompt, &params, VOCAB, len);
    for at in 0..tokens.len() {
        let token = tokens[at];
        let eos = !params.ignore_eos && params.eos_token_ids.contains(&token);
        if (eos || params.stop_token_ids.contains(&token)) && at + 1 >= params.min_tokens as usize {
            tokens.truncate(at + 1);
            let reason = if eos { FinishReason::Eos } else { FinishReason::StopToken(token) };
            return (tokens, reason);
        }
    }
    (tokens, FinishReason::Length)
}

/// Runs a request to its end and returns its answers.
pub(crate) fn complete(core: &mut EngineCore, request: Request) -> Vec<Answer> {
    let n = request.n as usize;
    let mut stream = core.submit(request).unwrap();
    drain(core);
    answers(&mut stream, n)
}
