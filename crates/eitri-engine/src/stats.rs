//! Counters that the engine publishes after every step.

use std::time::Duration;

use crate::FinishReason;

/// Ended sequences by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FinishedCounts {
    /// End token of the model.
    pub eos: u64,
    /// One of the request's stop tokens.
    pub stop_token: u64,
    /// `max_tokens` or the context length.
    pub length: u64,
    /// The client went away, or shutdown.
    pub abort: u64,
    /// `deadline` or `max_ttft`.
    pub deadline: u64,
    /// Executor failures.
    pub error: u64,
}

impl FinishedCounts {
    pub(crate) fn count(&mut self, reason: &FinishReason) {
        let counter = match reason {
            FinishReason::Eos => &mut self.eos,
            FinishReason::StopToken(_) => &mut self.stop_token,
            FinishReason::Length => &mut self.length,
            FinishReason::Abort => &mut self.abort,
            FinishReason::Deadline => &mut self.deadline,
            FinishReason::Error(_) => &mut self.error,
        };
        *counter += 1;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.eos + self.stop_token + self.length + self.abort + self.deadline + self.error
    }
}

/// State of the engine after a step. Counters only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Sequences that hold blocks.
    pub running: usize,
    /// Sequences that wait to be started or resumed.
    pub waiting: usize,
    /// Blocks of KV memory.
    pub total_blocks: usize,
    /// Blocks that no sequence holds, those with cached content included.
    pub free_blocks: usize,
    /// Free blocks whose content can still be hit.
    pub cached_blocks: usize,
    /// Prompt tokens of sequences whose prompt is complete, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Tokens carried through the executor, recomputed ones included.
    pub computed_tokens: u64,
    /// Prompt tokens looked up in the prefix cache, once per request.
    pub prefix_query_tokens: u64,
    /// Of these, the tokens found.
    pub prefix_hit_tokens: u64,
    /// Sequences that lost their blocks to others and had to start over.
    pub preemptions: u64,
    /// Blocks copied because another holder or the cache keeps the original.
    pub block_copies: u64,
    /// Steps whose end the executor left out to keep `max_step`.
    pub cut_steps: u64,
    /// Steps carried out.
    pub steps: u64,
    /// Failed steps.
    pub failed_steps: u64,
    /// Time of the last step in the executor.
    pub last_step: Duration,
    /// Time of all steps in the executor.
    pub step_time: Duration,
    /// Tokens computed in the last step.
    pub last_step_tokens: usize,
    /// Requests accepted.
    pub requests: u64,
    /// Ended sequences.
    pub finished: FinishedCounts,
}
