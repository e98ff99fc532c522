//! Several continuations of one prompt.

use eitri_engine::{EngineConfig, FinishReason, Request};

use crate::{
    scenarios::{big, greedy, text},
    world::{answers, complete, core, drain, solo},
};

#[test]
fn continuations_share_the_prompt() {
    for (prefix_caching, len) in [(true, 37), (false, 37), (true, 33), (false, 33), (false, 16)] {
        let mut core = core(&EngineConfig { prefix_caching, ..big() });
        let mut request = Request { n: 4, ..greedy(text(1, len), 20) };
        request.params.temperature = 1.0;
        request.params.seed = Some(5);
        let mut stream = core.submit(request.clone()).unwrap();
        core.step().unwrap();
        core.step().unwrap();
        assert_eq!(core.stats().running, 4);
        let shared = (len - 1) / 16;
        let own = len.div_ceil(16) + 1 - shared;
        assert!(64 - core.stats().free_blocks <= shared + 4 * own);
        drain(&mut core);
        assert_eq!(core.stats().computed_tokens, (len + 3 + 4 * 19) as u64);
        let answers = answers(&mut stream, 4);
        for (index, answer) in answers.iter().enumerate() {
            assert_eq!(answer.tokens, solo(&request, index as u32, 1000).0);
        }
        assert_ne!(answers[0].tokens, answers[1].tokens);
        assert_eq!(core.stats().prefix_hit_tokens, 0, "shared is not cached");
    }
}

/// Also the first one, which computes the prompt for the others while these sleep.
#[test]
fn a_continuation_that_is_given_up_ends_alone() {
    for (given_up, steps) in [(0, 0), (0, 3), (2, 0), (2, 3)] {
        let mut core = core(&big());
        let mut request = Request { n: 3, ..greedy(text(1, 40), 20) };
        request.params.temperature = 1.0;
        request.params.seed = Some(5);
        let mut stream = core.submit(request.clone()).unwrap();
        for _ in 0..steps {
            core.step().unwrap();
        }
        stream.abort_continuation(given_up);
        core.step().unwrap();
        assert_eq!(core.stats().finished.abort, 1);
        drain(&mut core);
        for (index, answer) in (0..).zip(answers(&mut stream, 3)) {
            let (tokens, reason) = (answer.tokens, answer.end.unwrap().0);
            let (expected, _) = solo(&request, index, 1000);
            assert!(expected.starts_with(&tokens), "{index}");
            let whole = index != given_up;
            assert_eq!((reason == FinishReason::Length, tokens.len() == 20), (whole, whole));
        }
        assert_eq!(core.stats().free_blocks, 64);
    }
}

#[test]
fn every_continuation_gets_the_prompt_logprobs_that_the_first_computed() {
    let mut core = core(&big());
    let mut request = Request { n: 3, ..greedy(text(1, 40), 2) };
    request.params.prompt_logprobs = Some(2);
    for answer in complete(&mut core, request) {
        assert_eq!(answer.prompt_logprobs, Some(39));
    }
    assert_eq!(core.stats().computed_tokens, 40 + 2 + 3);
}
