//! Exact expectations, one situation each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use eitri_engine::{
    EngineConfig, EngineCore, EngineError, FinishReason, ParamError, Request, SamplingParams,
    SchedulingPolicy, SimExecutor, SubmitError, TokenEvent, TokenId, TokenStream,
};

use crate::world::{Clock, VOCAB, answers, complete, config, core, core_with, drain, solo};

/// Texts that differ from their first token on, except by chance.
pub(crate) fn text(which: u32, len: usize) -> Vec<TokenId> {
    (0..len as u32).map(|at| (at * 5 + at / 7 + which) % VOCAB).collect()
}

pub(crate) fn greedy(prompt: Vec<TokenId>, max_tokens: u32) -> Request {
    Request::new(prompt, SamplingParams::greedy(max_tokens))
}

pub(crate) fn big() -> EngineConfig {
    EngineConfig { max_num_batched_tokens: 512, ..config(64, 16) }
}

fn reason_of(stream: &mut TokenStream) -> FinishReason {
    answers(stream, 1).remove(0).end.unwrap().0
}

#[test]
fn a_repeated_prompt_computes_exactly_one_token() {
    for len in (1..70).chain([127, 128, 129]) {
        let mut core = core(&big());
        let first = complete(&mut core, greedy(text(1, len), 3));
        let before = core.stats();
        let second = complete(&mut core, greedy(text(1, len), 3));
        let after = core.stats();
        assert_eq!(first[0].tokens, second[0].tokens);
        // One prompt token, then two generated ones; the third is never computed.
        assert_eq!(after.computed_tokens - before.computed_tokens, 3, "{len} tokens");
        assert_eq!(after.prefix_hit_tokens, len as u64 - 1);
        assert_eq!(second[0].end.as_ref().unwrap().1.cached, len - 1);
    }
}

#[test]
fn a_prompt_repeated_while_the_first_still_runs_computes_one_token() {
    let mut core = core(&big());
    let mut first = core.submit(greedy(text(1, 37), 40)).unwrap();
    core.step().unwrap();
    let mut second = core.submit(greedy(text(1, 37), 40)).unwrap();
    core.step().unwrap();
    assert_eq!(core.last_plan().tokens.len(), 2);
    assert_eq!(core.last_plan().copies.len(), 1);
    drain(&mut core);
    assert_eq!(answers(&mut first, 1)[0].tokens, answers(&mut second, 1)[0].tokens);
}

#[test]
fn a_hit_ends_where_the_texts_part() {
    let mut core = core(&big());
    complete(&mut core, greedy(text(1, 100), 4));
    let mut other = text(1, 100);
    other[59] = (other[59] + 1) % VOCAB;
    let answer = complete(&mut core, greedy(other.clone(), 4));
    assert_eq!(answer[0].end.as_ref().unwrap().1.cached, 59);
    assert_eq!(answer[0].tokens, solo(&greedy(other, 4), 0, 1000).0);
}

#[test]
fn a_conversation_goes_on_from_the_generated_tokens() {
    let mut core = core(&big());
    let mut history = text(1, 21);
    for turn in 0..6 {
        let cached = complete(&mut core, greedy(history.clone(), 9)).remove(0);
        history.extend(&cached.tokens);
        // The last generated token was never computed.
        let expected = if turn == 0 { 0 } else { 21 + turn * 14 - 6 };
        assert_eq!(cached.end.unwrap().1.cached, expected, "turn {turn}");
        history.extend(text(turn as u32 + 2, 5));
    }
}

#[test]
fn what_keeps_a_request_from_reading_the_cache() {
    let prompt = || greedy(text(1, 50), 2);
    let salted = |salt: &str| Request { cache_salt: Some(salt.into()), ..prompt() };
    let mut scored = prompt();
    scored.params.prompt_logprobs = Some(1);
    let table = [
        ("the same", prompt(), prompt(), true, 49),
        ("other salt", salted("a"), salted("b"), true, 0),
        ("same salt", salted("a"), salted("a"), true, 49),
        ("salt and none", salted("a"), prompt(), true, 0),
        ("prompt logprobs", prompt(), scored.clone(), true, 0),
        ("left by prompt logprobs", scored, prompt(), true, 49),
        ("caching off", prompt(), prompt(), false, 0),
    ];
    for (name, first, second, prefix_caching, cached) in table {
        let mut core = core(&EngineConfig { prefix_caching, ..big() });
        complete(&mut core, first);
        let answer = complete(&mut core, second).remove(0);
        assert_eq!(answer.end.unwrap().1.cached, cached, "{name}");
    }
}

#[test]
fn a_reset_cache_gives_no_hits_and_running_sequences_go_on() {
    let mut core = core(&big());
    complete(&mut core, greedy(text(1, 50), 2));
    let mut running = core.submit(greedy(text(2, 50), 30)).unwrap();
    core.step().unwrap();
    assert!(core.reset_prefix_cache() > 0);
    let again = complete(&mut core, greedy(text(1, 50), 2)).remove(0);
    assert_eq!(again.end.unwrap().1.cached, 0);
    assert_eq!(answers(&mut running, 1)[0].tokens, solo(&greedy(text(2, 50), 30), 0, 1000).0);
    let other = complete(&mut core, greedy(text(2, 50), 2)).remove(0);
    assert_eq!(other.end.unwrap().1.cached, 0, "computed before the reset");
}

#[test]
fn decoding_sequences_get_a_token_in_every_step_of_a_long_prompt() {
    let mut core = core(&EngineConfig { max_num_batched_tokens: 32, ..config(64, 16) });
    let mut decoding = [0, 1, 2].map(|which| core.submit(greedy(text(which, 5), 60)).unwrap());
    core.step().unwrap();
    let _long = core.submit(greedy(text(3, 400), 1)).unwrap();
    for step in 0..13 {
        core.step().unwrap();
        let rows: Vec<_> = core.last_plan().rows.iter().map(|row| row.len).collect();
        assert_eq!(rows, [1, 1, 1, 29], "step {step}");
    }
    for stream in &mut decoding {
        let events = std::iter::from_fn(|| stream.try_next()).count();
        assert_eq!(events, 14);
    }
}

#[test]
fn the_prefill_threshold_leaves_budget_to_the_next_prompt() {
    let mut core = core(&EngineConfig { long_prefill_token_threshold: Some(24), ..config(64, 16) });
    let _streams = [1, 2, 3].map(|which| core.submit(greedy(text(which, 200), 1)).unwrap());
    core.step().unwrap();
    let rows: Vec<_> = core.last_plan().rows.iter().map(|row| row.len).collect();
    assert_eq!(rows, [24, 24, 16]);
}

#[test]
fn thousands_of_preemptions_change_no_answer() {
    for prefix_caching in [true, false] {
        let mut core = core(&EngineConfig { prefix_caching, ..config(24, 4) });
        let requests: Vec<_> = (0..60)
            .map(|which| {
                let mut request = greedy(text(which, 3 + which as usize % 20), 50);
                request.params.temperature = 1.0;
                request.params.seed = Some(u64::from(which));
                request
            })
            .collect();
        let mut streams: Vec<_> =
            requests.iter().map(|request| core.submit(request.clone()).unwrap()).collect();
        drain(&mut core);
        for (stream, request) in streams.iter_mut().zip(&requests) {
            assert_eq!(answers(stream, 1)[0].tokens, solo(request, 0, 96).0);
        }
        assert!(core.stats().preemptions > 100, "{}", core.stats().preemptions);
        assert_eq!(core.stats().free_blocks, 24);
    }
}

#[test]
fn the_newest_gives_way_and_comes_back_first() {
    let mut core = core(&EngineConfig { prefix_caching: false, ..config(6, 4) });
    let mut streams = [1, 2, 3, 4].map(|which| core.submit(greedy(text(which, 7), 9)).unwrap());
    let mut order = Vec::new();
    while core.step().unwrap() {
        for (at, stream) in streams.iter_mut().enumerate() {
            while let Some(event) = stream.try_next() {
                if matches!(event, TokenEvent::Finished { .. }) {
                    order.push(at);
                }
            }
        }
    }
    assert_eq!(order, [0, 1, 2, 3]);
    assert!(core.stats().preemptions > 0);
}

#[test]
fn the_end_of_an_old_chain_is_evicted_first() {
    let mut core = core(&EngineConfig { max_num_batched_tokens: 512, ..config(10, 16) });
    complete(&mut core, greedy(text(1, 128), 1));
    // Takes the two blocks never used, then two from the end of the chain.
    complete(&mut core, greedy(text(2, 63), 1));
    let answer = complete(&mut core, greedy(text(1, 128), 1)).remove(0);
    assert_eq!(answer.end.unwrap().1.cached, 96);
}

#[test]
fn a_better_class_displaces_a_worse_one() {
    let policy = SchedulingPolicy::Priority;
    // Once for want of blocks, once for want of places.
    for (num_blocks, max_num_seqs) in [(8, 8), (64, 2)] {
        let mut core = core(&EngineConfig { policy, max_num_seqs, ..config(num_blocks, 4) });
        let low = |which| Request { priority: 5, ..greedy(text(which, 12), 4) };
        let mut lows = [low(1), low(2)].map(|request| core.submit(request).unwrap());
        core.step().unwrap();
        let mut urgent = core.submit(Request { priority: 0, ..greedy(text(3, 9), 2) }).unwrap();
        core.step().unwrap();
        core.step().unwrap();
        assert_eq!(reason_of(&mut urgent), FinishReason::Length);
        assert!(core.stats().preemptions >= 1);
        drain(&mut core);
        for (which, stream) in lows.iter_mut().enumerate() {
            let expected = solo(&low(which as u32 + 1), 0, 1000).0;
            assert_eq!(answers(stream, 1)[0].tokens, expected);
        }
    }
}

#[test]
fn nobody_is_displaced_in_vain() {
    let policy = SchedulingPolicy::Priority;
    let mut core = core(&EngineConfig { policy, ..config(8, 4) });
    let equal = core.submit(greedy(text(1, 12), 9)).unwrap();
    let low = core.submit(Request { priority: 1, ..greedy(text(2, 6), 4) }).unwrap();
    core.step().unwrap();
    // Needs six blocks; without the low one five would be free.
    let _urgent = core.submit(greedy(text(3, 24), 4)).unwrap();
    core.step().unwrap();
    assert_eq!((core.stats().preemptions, core.stats().running), (0, 2));
    drop((equal, low));
}

#[test]
fn late_answers_end_running_or_waiting() {
    let clock = Clock::default();
    let config = EngineConfig { max_num_seqs: 2, ..config(64, 16) };
    let sim = SimExecutor::new(VOCAB, 64, 16);
    let mut core = core_with(&config, sim, &clock);
    let ms = Duration::from_millis;
    let mut whole =
        core.submit(Request { deadline: Some(ms(10)), ..greedy(text(1, 4), 50) }).unwrap();
    let mut in_time =
        core.submit(Request { max_ttft: Some(ms(5)), ..greedy(text(2, 4), 50) }).unwrap();
    let mut waiting =
        core.submit(Request { max_ttft: Some(ms(5)), n: 1, ..greedy(text(3, 4), 50) }).unwrap();
    core.step().unwrap();
    clock.advance(ms(5));
    core.step().unwrap();
    assert_eq!(core.stats().finished.deadline, 1);
    clock.advance(ms(5));
    core.step().unwrap();
    assert_eq!(core.stats().finished.deadline, 2);
    drain(&mut core);
    assert_eq!(reason_of(&mut waiting), FinishReason::Deadline);
    let partial = answers(&mut whole, 1).remove(0);
    assert_eq!((partial.tokens.len(), partial.end.unwrap().0), (2, FinishReason::Deadline));
    assert_eq!(reason_of(&mut in_time), FinishReason::Length);
}

#[test]
fn a_dropped_stream_frees_its_blocks_within_one_step() {
    let mut core = core(&big());
    let kept = core.submit(greedy(text(1, 30), 50)).unwrap();
    let dropped = core.submit(Request { n: 3, ..greedy(text(2, 100), 50) }).unwrap();
    core.step().unwrap();
    core.step().unwrap();
    drop(dropped);
    core.step().unwrap();
    assert_eq!((core.stats().running, core.stats().free_blocks), (1, 62));
    assert_eq!(core.stats().finished.abort, 3);
    assert_eq!(core.last_plan().released.len(), 3);
    drop(kept);
}

#[test]
fn a_reader_who_comes_late_gets_everything_merged() {
    let mut core = core(&EngineConfig { max_num_batched_tokens: 512, ..config(64, 16) });
    let request = Request { n: 2, ..greedy(text(1, 10), 400) };
    let mut slow = core.submit(request.clone()).unwrap();
    drain(&mut core);
    assert_eq!(core.stats().free_blocks, 64, "the reader holds no blocks");
    let mut events = 0;
    let mut tokens = [Vec::new(), Vec::new()];
    let mut ends = [0, 0];
    while let Some(event) = slow.blocking_next() {
        events += 1;
        match event {
            TokenEvent::Tokens { index, tokens: new, .. } => tokens[index as usize].extend(new),
            TokenEvent::Finished { index, usage, .. } => {
                ends[index as usize] += 1;
                assert_eq!(usage.generated, 400);
            }
            TokenEvent::Prompt { .. } => panic!("not asked for"),
        }
    }
    assert!(events < 80, "{events}");
    assert_eq!(ends, [1, 1]);
    for (index, tokens) in tokens.iter().enumerate() {
        let ids: Vec<_> = tokens.iter().map(|token| token.id).collect();
        assert_eq!(ids, solo(&request, index as u32, 1000).0);
    }
}

#[test]
fn a_lone_sequence_ends_with_length_when_the_pool_is_full() {
    let mut core = core(&config(4, 4));
    let answer = complete(&mut core, greedy(text(1, 10), 100)).remove(0);
    assert_eq!(answer.tokens.len(), 6);
    assert_eq!(answer.end.unwrap().0, FinishReason::Length);
    // Starts in place over the cached partial block, since none is left to copy to.
    let again = complete(&mut core, greedy(text(1, 15), 100)).remove(0);
    assert_eq!((again.tokens.len(), core.stats().block_copies), (1, 0));
}

#[test]
fn refused_requests() {
    let mut core = core(&EngineConfig { max_model_len: 50, max_queued: Some(1), ..config(8, 4) });
    let with = |change: fn(&mut Request)| {
        let mut request = greedy(text(1, 8), 4);
        change(&mut request);
        request
    };
    let too_many = ParamError { field: "n", expected: "in 1..=1024", value: "0".to_owned() };
    let table = [
        (with(|r| r.prompt.clear()), SubmitError::EmptyPrompt),
        (with(|r| r.prompt = text(1, 50)), SubmitError::PromptTooLong { len: 50, max: 49 }),
        (with(|r| r.prompt = text(1, 32)), SubmitError::DoesNotFit { len: 32, max: 31 }),
        (with(|r| r.n = 0), SubmitError::Param(too_many)),
    ];
    for (request, error) in table {
        assert_eq!(core.submit(request).unwrap_err(), error);
    }
    let bad = core.submit(with(|r| r.params.top_p = 0.0)).unwrap_err();
    assert_eq!(bad.to_string(), "top_p must be in (0, 1], got 0");
    let _waiting = core.submit(with(|_| {})).unwrap();
    assert_eq!(core.submit(with(|_| {})).unwrap_err(), SubmitError::QueueFull { waiting: 1 });
    core.step().unwrap();
    assert!(core.submit(with(|_| {})).is_ok());
}

#[test]
fn what_ends_a_sequence() {
    let prompt = text(4, 12);
    let plain = SimExecutor::continuation(&prompt, &SamplingParams::greedy(40), VOCAB, 40);
    let third = plain[2];
    let before = plain.iter().position(|&token| token == third).unwrap() + 1;
    let mut params = SamplingParams::greedy(40);
    params.eos_token_ids = Arc::from([third]);
    let ignoring = SamplingParams { ignore_eos: true, ..params.clone() };
    let stopping = SamplingParams { stop_token_ids: vec![third], ..ignoring.clone() };
    let late = SamplingParams { min_tokens: 40, ..params.clone() };
    let table = [
        (params, before, FinishReason::Eos),
        (ignoring, 40, FinishReason::Length),
        (stopping, before, FinishReason::StopToken(third)),
        (late, 40, FinishReason::Length),
        (SamplingParams::greedy(1), 1, FinishReason::Length),
    ];
    for (params, len, reason) in table {
        let mut core = core(&big());
        let answer = complete(&mut core, Request::new(prompt.clone(), params)).remove(0);
        assert_eq!((answer.tokens.len(), answer.end.unwrap().0), (len, reason));
    }
}

#[test]
fn a_failed_step_ends_all_and_the_engine_serves_on() {
    let fail = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fail);
    let sim = SimExecutor::new(VOCAB, 64, 16).on_step(move |_| {
        if failing.load(Ordering::Relaxed) { Err("no power".to_owned()) } else { Ok(()) }
    });
    let mut core = core_with(&big(), sim, &Clock::default());
    let mut streams = [1, 2, 3].map(|which| core.submit(greedy(text(which, 9), 9)).unwrap());
    core.step().unwrap();
    fail.store(true, Ordering::Relaxed);
    assert!(core.step().is_ok());
    for stream in &mut streams {
        let FinishReason::Error(message) = reason_of(stream) else { panic!("not an error") };
        assert_eq!(&*message, "step 2 failed: no power");
    }
    fail.store(false, Ordering::Relaxed);
    let answer = complete(&mut core, greedy(text(1, 9), 4)).remove(0);
    assert_eq!(answer.end.unwrap().0, FinishReason::Length);
    assert_eq!((core.stats().free_blocks, core.stats().failed_steps), (64, 1));

    fail.store(true, Ordering::Relaxed);
    let mut last = core.submit(greedy(text(1, 9), 4)).unwrap();
    assert!(core.step().is_ok());
    assert!(core.step().is_ok());
    assert!(matches!(core.step(), Err(EngineError::Executor(_))));
    assert!(matches!(reason_of(&mut last), FinishReason::Error(_)));
}

#[test]
fn a_failed_row_ends_one_sequence_and_leaves_nothing_in_the_cache() {
    let fail = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fail);
    let sim = SimExecutor::new(VOCAB, 64, 16).on_row(move |row| {
        let fails = row.start >= 40 && failing.load(Ordering::Relaxed);
        fails.then(|| "not a number".to_owned())
    });
    let mut core = core_with(&big(), sim, &Clock::default());
    let mut broken = core.submit(greedy(text(1, 40), 9)).unwrap();
    let mut healthy = core.submit(greedy(text(2, 9), 9)).unwrap();
    core.step().unwrap();
    fail.store(true, Ordering::Relaxed);
    core.step().unwrap();
    fail.store(false, Ordering::Relaxed);
    assert_eq!(reason_of(&mut broken), FinishReason::Error("not a number".into()));
    let again = complete(&mut core, greedy(text(1, 40), 2)).remove(0);
    assert_eq!(again.end.unwrap().1.cached, 0);
    assert_eq!(reason_of(&mut healthy), FinishReason::Length);
}

#[test]
fn bad_settings_are_named() {
    let good = config(4, 4);
    let table = [
        (EngineConfig { num_blocks: 0, ..good.clone() }, "num_blocks must be at least 1, got 0"),
        (
            EngineConfig { max_num_batched_tokens: 3, ..good.clone() },
            "max_num_batched_tokens must be at least 8, got 3",
        ),
        (EngineConfig { max_model_len: 1, ..good }, "max_model_len must be at least 2, got 1"),
    ];
    for (config, message) in table {
        let error = EngineCore::new(config, Box::new(SimExecutor::new(VOCAB, 4, 4)));
        assert_eq!(error.err().unwrap().to_string(), message);
    }
}

#[test]
fn decoding_reuses_the_plan_s_memory() {
    let mut core = core(&config(64, 16));
    let _streams = [1, 2, 3].map(|which| core.submit(greedy(text(which, 9), 200)).unwrap());
    (0..20).for_each(|_| assert!(core.step().unwrap()));
    let memory = |core: &EngineCore| {
        let plan = core.last_plan();
        (plan.rows.as_ptr(), plan.tokens.as_ptr(), plan.new_blocks.as_ptr())
    };
    let before = memory(&core);
    for _ in 0..100 {
        core.step().unwrap();
        assert_eq!(memory(&core), before);
    }
}
