//! Settings of an engine and what can be wrong with them.

use std::{fmt, sync::Arc, time::Duration};

/// Which waiting sequence runs first and which running one gives way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SchedulingPolicy {
    /// In order of arrival; `priority` is ignored.
    #[default]
    Fcfs,
    /// Lower `priority` first, then in order of arrival. A waiting sequence may displace running
    /// ones of a lower class.
    Priority,
}

/// Settings of an engine; fixed for its life.
#[derive(Clone)]
pub struct EngineConfig {
    /// Blocks of KV memory that the executor holds.
    pub num_blocks: usize,
    /// Tokens per block.
    pub block_size: usize,
    /// Most sequences that run at once.
    pub max_num_seqs: usize,
    /// Most tokens computed in one step; at least `max_num_seqs`.
    pub max_num_batched_tokens: usize,
    /// Most tokens of one sequence, prompt and generated together.
    pub max_model_len: usize,
    /// Whether requests may reuse blocks that earlier ones left.
    pub prefix_caching: bool,
    /// Order of service.
    pub policy: SchedulingPolicy,
    /// Longest time that a step should take while somebody waits for the next token. Prompts are
    /// cut into chunks that are predicted to stay below it.
    pub max_step: Option<Duration>,
    /// Most prompt tokens of one sequence in one step.
    pub long_prefill_token_threshold: Option<usize>,
    /// Most requests that wait to be started; more are refused.
    pub max_queued: Option<usize>,
    /// Source of the seeds of requests that bring none.
    pub seed: u64,
    /// Runs first on the engine's thread, for example to pin or name it.
    pub on_thread_start: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl EngineConfig {
    /// Usual settings for a pool of `num_blocks` blocks of 16 tokens.
    pub fn new(num_blocks: usize, max_model_len: usize) -> Self {
        Self {
            num_blocks,
            block_size: 16,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            max_model_len,
            prefix_caching: true,
            policy: SchedulingPolicy::Fcfs,
            max_step: None,
            long_prefill_token_threshold: None,
            max_queued: None,
            seed: 0,
            on_thread_start: None,
        }
    }

    /// Most tokens that one sequence can have: the model's limit or the whole pool.
    pub fn max_sequence_len(&self) -> usize {
        self.max_model_len.min(self.num_blocks.saturating_mul(self.block_size))
    }

    pub(crate) fn validate(&self) -> Result<(), EngineError> {
        let at_least = |field: &'static str, value: usize, min: usize| {
            if value >= min {
                Ok(())
            } else {
                Err(EngineError::Config { field, expected: format!("at least {min}"), value })
            }
        };
        at_least("num_blocks", self.num_blocks, 1)?;
        at_least("block_size", self.block_size, 1)?;
        at_least("max_num_seqs", self.max_num_seqs, 1)?;
        at_least("max_model_len", self.max_model_len, 2)?;
        // A decoding sequence that finds no budget would wait for others, without bound.
        at_least("max_num_batched_tokens", self.max_num_batched_tokens, self.max_num_seqs)?;
        if let Some(tokens) = self.long_prefill_token_threshold {
            at_least("long_prefill_token_threshold", tokens, 1)?;
        }
        if self.num_blocks >= u32::MAX as usize {
            return Err(EngineError::Config {
                field: "num_blocks",
                expected: format!("below {}", u32::MAX),
                value: self.num_blocks,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("num_blocks", &self.num_blocks)
            .field("block_size", &self.block_size)
            .field("max_num_seqs", &self.max_num_seqs)
            .field("max_num_batched_tokens", &self.max_num_batched_tokens)
            .field("max_model_len", &self.max_model_len)
            .field("prefix_caching", &self.prefix_caching)
            .field("policy", &self.policy)
            .field("max_step", &self.max_step)
            .field("long_prefill_token_threshold", &self.long_prefill_token_threshold)
            .field("max_queued", &self.max_queued)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Why an engine did not start or came to an end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// A setting out of range.
    #[error("{field} must be {expected}, got {value}")]
    Config {
        /// Name of the field of [`EngineConfig`].
        field: &'static str,
        /// What would be right.
        expected: String,
        /// The value that was given.
        value: usize,
    },
    /// The operating system gave no thread.
    #[error("cannot start the engine thread: {0}")]
    Thread(String),
    /// The executor failed too often, or it panicked.
    #[error("the engine gave up on its executor: {0}")]
    Executor(Arc<str>),
    /// The engine's own code panicked.
    #[error("the engine thread panicked: {0}")]
    Panicked(String),
}
