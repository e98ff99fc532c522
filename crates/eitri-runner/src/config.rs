//! Settings of a runner.

use eitri_kernels::{Activations, ThreadStart};

use crate::{KvDtype, RunnerError};

/// Settings of a runner; fixed for its life.
#[derive(Clone)]
pub struct RunnerConfig {
    /// Threads that compute, the engine's own included; at least 1.
    pub threads: usize,
    /// Runs on each further thread when it starts, with its index from 1 on: for pinning.
    pub on_thread_start: Option<ThreadStart>,
    /// Arithmetic of activations.
    pub activations: Activations,
    /// Element type of keys and values; `None` takes [`KvDtype::of`] the model.
    pub kv_dtype: Option<KvDtype>,
    /// Most sequences held at once.
    pub max_num_seqs: usize,
    /// Most tokens computed in one step; at least `max_num_seqs`.
    pub max_num_batched_tokens: usize,
    /// Most tokens of one sequence. `None` takes the model's limit, or less if memory is short.
    pub max_model_len: Option<usize>,
    /// Bytes for weights, KV cache and workspace together; the KV cache gets what the others leave.
    /// `None` gives the KV cache [`DEFAULT_KV_TOKENS`](crate::DEFAULT_KV_TOKENS) tokens.
    pub memory_budget: Option<u64>,
    /// Blocks of the KV cache, whatever the budget would allow.
    pub num_blocks: Option<usize>,
    /// Bytes of the KV cache, whatever the budget would allow.
    pub kv_cache_bytes: Option<u64>,
}

impl std::fmt::Debug for RunnerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnerConfig")
            .field("threads", &self.threads)
            .field("activations", &self.activations)
            .field("kv_dtype", &self.kv_dtype)
            .field("max_num_seqs", &self.max_num_seqs)
            .field("max_num_batched_tokens", &self.max_num_batched_tokens)
            .field("max_model_len", &self.max_model_len)
            .field("memory_budget", &self.memory_budget)
            .field("num_blocks", &self.num_blocks)
            .field("kv_cache_bytes", &self.kv_cache_bytes)
            .finish_non_exhaustive()
    }
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            on_thread_start: None,
            activations: Activations::default(),
            kv_dtype: None,
            max_num_seqs: 64,
            max_num_batched_tokens: 2048,
            max_model_len: None,
            memory_budget: None,
            num_blocks: None,
            kv_cache_bytes: None,
        }
    }
}

impl RunnerConfig {
    /// Rows of logits that one call of the model computes: one per sequence, and enough at a time
    /// for the log-probabilities of a prompt.
    pub(crate) fn max_logit_rows(&self) -> usize {
        const PROMPT_ROWS: usize = 64;
        self.max_num_seqs.max(PROMPT_ROWS.min(self.max_num_batched_tokens))
    }

    pub(crate) fn validate(&self) -> Result<(), RunnerError> {
        let at_least = |flag: &'static str, value: usize, min: usize| {
            if value >= min {
                return Ok(());
            }
            Err(RunnerError::Setting {
                flag,
                expected: format!("at least {min}"),
                value: value as u64,
            })
        };
        at_least("--threads", self.threads, 1)?;
        at_least("--max-num-seqs", self.max_num_seqs, 1)?;
        at_least("--max-num-batched-tokens", self.max_num_batched_tokens, self.max_num_seqs)?;
        at_least("--max-model-len", self.max_model_len.unwrap_or(2), 2)?;
        at_least("--num-gpu-blocks-override", self.num_blocks.unwrap_or(1), 1)
    }
}
