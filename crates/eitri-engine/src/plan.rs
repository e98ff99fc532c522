//! What the engine asks of an executor in one step, and what comes back.
//!
//! All lists are flat and reused from step to step, so that steady-state decoding allocates nothing.

use std::{sync::Arc, time::Duration};

use crate::{SamplingParams, TokenId};

/// Identity of one sequence for the life of the engine; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Index of one block of KV memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// A sequence that enters the executor: new, or back after preemption.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Which sequence.
    pub id: SequenceId,
    /// All tokens known so far: the prompt, then what was generated before a preemption.
    pub tokens: Vec<TokenId>,
    /// How many of `tokens` are the prompt.
    pub prompt_len: usize,
    /// How its tokens are chosen. `seed` is always set here.
    pub params: Arc<SamplingParams>,
}

/// The work of one sequence in one step: tokens `start .. start + len` are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledRow {
    /// Which sequence.
    pub id: SequenceId,
    /// Position of the first token computed in this step.
    pub start: usize,
    /// How many tokens are computed; at least 1.
    pub len: usize,
    /// Start of this row's tokens in [`StepPlan::tokens`]; there are `len`.
    pub token_offset: usize,
    /// Start of this row's new blocks in [`StepPlan::new_blocks`].
    pub block_offset: usize,
    /// How many blocks are appended to the sequence's block table before computing.
    pub block_count: usize,
    /// Whether a token is sampled from the last computed position.
    pub sample: bool,
}

/// Copies the first `tokens` KV slots of every layer from one block to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCopy {
    /// Block that is read.
    pub from: BlockId,
    /// Block that is written.
    pub to: BlockId,
    /// Number of leading slots that matter.
    pub tokens: usize,
}

/// How long a step should take, and what may be left out for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLimit {
    /// From `submit` to the end of `collect`.
    pub time: Duration,
    /// How many of the first tokens are computed in any case: all decoding rows, and enough of a
    /// prompt that it gets on.
    pub tokens: usize,
}

/// One step, to be carried out in the order of the fields.
#[derive(Debug, Clone, Default)]
pub struct StepPlan {
    /// Counts up from 1.
    pub step: u64,
    /// Sequences that ended or were preempted: the executor drops what it holds for them.
    pub released: Vec<SequenceId>,
    /// Sequences that enter.
    pub admitted: Vec<Admission>,
    /// Copies to make before anything is computed.
    pub copies: Vec<BlockCopy>,
    /// Sequences to compute, decoding rows first.
    pub rows: Vec<ScheduledRow>,
    /// Token ids of all rows, in order.
    pub tokens: Vec<TokenId>,
    /// Present when somebody waits for a next token while prompts are computed. The executor may
    /// then leave out tokens from the end of `tokens`; see [`StepOutput::computed`].
    pub limit: Option<StepLimit>,
    /// Blocks appended to the rows' block tables, in order. For an admitted sequence these include
    /// the blocks of its prefix-cache hit.
    pub new_blocks: Vec<BlockId>,
}

impl StepPlan {
    /// Empties all lists and keeps their memory.
    pub fn clear(&mut self) {
        self.released.clear();
        self.admitted.clear();
        self.copies.clear();
        self.rows.clear();
        self.tokens.clear();
        self.limit = None;
        self.new_blocks.clear();
    }

    /// Token ids that `row` computes.
    pub fn row_tokens(&self, row: &ScheduledRow) -> &[TokenId] {
        &self.tokens[row.token_offset..row.token_offset + row.len]
    }

    /// Blocks that `row` appends to its sequence's table.
    pub fn row_blocks(&self, row: &ScheduledRow) -> &[BlockId] {
        &self.new_blocks[row.block_offset..row.block_offset + row.block_count]
    }

    /// Whether there is nothing to compute and nothing to release.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.released.is_empty()
    }
}

/// Log-probabilities at one position (natural logarithm, from the raw logits).
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token itself.
    pub logprob: f32,
    /// Its rank among all tokens, 1 for the most likely.
    pub rank: u32,
    /// The most likely tokens with their values, best first.
    pub top: Vec<(TokenId, f32)>,
}

/// A token chosen for one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Which sequence.
    pub id: SequenceId,
    /// The token.
    pub token: TokenId,
    /// Present when the sequence's parameters ask for it.
    pub logprobs: Option<TokenLogprobs>,
}

/// Log-probability of one prompt token given those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptLogprobs {
    /// Which sequence.
    pub id: SequenceId,
    /// Position of the token that the values are about; from 1 to `prompt_len - 1`.
    pub position: usize,
    /// The values.
    pub logprobs: TokenLogprobs,
}

/// Why one sequence could not be computed while the others could.
#[derive(Debug, Clone, PartialEq)]
pub struct RowFailure {
    /// Which sequence.
    pub id: SequenceId,
    /// What went wrong, for the client.
    pub message: String,
}

/// Result of one step.
#[derive(Debug, Clone, Default)]
pub struct StepOutput {
    /// The step this answers.
    pub step: u64,
    /// How many of the plan's tokens were computed if not all, which only a [`StepLimit`] allows. A
    /// row that was cut keeps its first tokens and its blocks, and gives no token.
    pub computed: Option<usize>,
    /// One entry per row with `sample`, in the order of the rows, less the failed ones.
    pub sampled: Vec<Sampled>,
    /// Prompt log-probabilities of rows that asked for them.
    pub prompt_logprobs: Vec<PromptLogprobs>,
    /// Rows that failed alone, for example with NaN logits.
    pub failed: Vec<RowFailure>,
}

impl StepOutput {
    /// Empties all lists and keeps their memory.
    pub fn clear(&mut self) {
        self.computed = None;
        self.sampled.clear();
        self.prompt_logprobs.clear();
        self.failed.clear();
    }
}
