//! Requests into the engine and events out of it.

use std::{sync::Arc, time::Duration};

use crate::{SamplingParams, TokenId, TokenLogprobs};

/// One prompt and how to continue it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Prompt token ids; at least one.
    pub prompt: Vec<TokenId>,
    /// How tokens are chosen.
    pub params: SamplingParams,
    /// Number of independent continuations that share the prompt's blocks; at least 1.
    pub n: u32,
    /// Lower runs first under the priority policy; 0 is normal.
    pub priority: i32,
    /// The whole answer is due this long after submission; then it ends with `Deadline`.
    pub deadline: Option<Duration>,
    /// The first token is due this long after submission; then it ends with `Deadline`.
    pub max_ttft: Option<Duration>,
    /// Requests share cached prefixes only with requests of the same salt.
    pub cache_salt: Option<Arc<str>>,
}

impl Request {
    /// A request with normal priority, no deadline, one continuation.
    pub fn new(prompt: Vec<TokenId>, params: SamplingParams) -> Self {
        Self { prompt, params, n: 1, priority: 0, deadline: None, max_ttft: None, cache_salt: None }
    }
}

/// Why a sequence ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model chose one of its end tokens.
    Eos,
    /// The model chose one of `stop_token_ids`.
    StopToken(TokenId),
    /// `max_tokens` or the context length was reached.
    Length,
    /// The client went away or the engine shut down.
    Abort,
    /// `deadline` or `max_ttft` passed.
    Deadline,
    /// The executor failed.
    Error(Arc<str>),
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedToken {
    /// Its id.
    pub id: TokenId,
    /// Present when asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// Token counts of one sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Prompt tokens.
    pub prompt: usize,
    /// Prompt tokens that were found in the prefix cache.
    pub cached: usize,
    /// Generated tokens, the end token included.
    pub generated: usize,
}

/// Where the time of one sequence went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestTiming {
    /// From submission until its first token was scheduled.
    pub queued: Duration,
    /// From then until its first generated token was known.
    pub prefill: Duration,
    /// From then until its last generated token was known.
    pub decode: Duration,
}

/// What a client receives. Events of one continuation are in order, and the last one is `Finished`,
/// exactly once, whatever happens.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenEvent {
    /// Log-probabilities of the prompt tokens from the second one on; before the first `Tokens`.
    Prompt {
        /// Which of the `n` continuations.
        index: u32,
        /// One entry per prompt token but the first.
        logprobs: Vec<TokenLogprobs>,
    },
    /// New tokens. A slow reader receives those of several steps at once.
    Tokens {
        /// Which of the `n` continuations.
        index: u32,
        /// At least one; the end token is included.
        tokens: Vec<GeneratedToken>,
        /// Prompt tokens that were found in the prefix cache. A client that stops reading, because
        /// of a stop string for example, does not see them in `Finished`.
        cached: usize,
    },
    /// The end of one continuation.
    Finished {
        /// Which of the `n` continuations.
        index: u32,
        /// Why.
        reason: FinishReason,
        /// Token counts.
        usage: TokenUsage,
        /// Durations, for metrics.
        timing: RequestTiming,
    },
}
