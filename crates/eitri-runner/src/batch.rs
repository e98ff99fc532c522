//! The flat arrays of one call of the model, in memory that is used again for every step.

use eitri_engine::TokenId;
use eitri_kernels::ops::SequenceSpan;
use eitri_models::{Deadline, ModelInput};

use crate::{
    sampler::RowTask,
    sequences::{Sequence, Sequences},
};

/// A stretch of one sequence's tokens: all or part of a row of the step plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// Index of the row in the plan.
    pub(crate) row: usize,
    /// Slot of the sequence.
    pub(crate) slot: usize,
    /// Position of the first token.
    pub(crate) start: usize,
    /// Whether a token is sampled from the last position.
    pub(crate) sample: bool,
}

/// What one row of logits is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogitRow {
    /// Index of the row in the plan.
    pub(crate) row: usize,
    slot: usize,
    /// Position that was computed; the logits are about the next one.
    position: usize,
    /// Whether the next token is sampled rather than known.
    sample: bool,
}

impl LogitRow {
    /// Position of the prompt token that is scored; `None` for a sampling row.
    pub(crate) fn scored_position(&self) -> Option<usize> {
        (!self.sample).then_some(self.position + 1)
    }
}

/// Arrays for one call of the model.
pub(crate) struct Batch {
    block_size: usize,
    tokens: Vec<TokenId>,
    positions: Vec<u32>,
    slots: Vec<u32>,
    spans: Vec<SequenceSpan>,
    logit_rows: Vec<u32>,
    purposes: Vec<LogitRow>,
}

impl Batch {
    /// Memory for `max_tokens` tokens of `max_spans` sequences and `max_logit_rows` rows of logits.
    pub(crate) fn new(
        block_size: usize,
        max_tokens: usize,
        max_spans: usize,
        max_logit_rows: usize,
    ) -> Self {
        Self {
            block_size,
            tokens: Vec::with_capacity(max_tokens),
            positions: Vec::with_capacity(max_tokens),
            slots: Vec::with_capacity(max_tokens),
            spans: Vec::with_capacity(max_spans),
            logit_rows: Vec::with_capacity(max_logit_rows),
            purposes: Vec::with_capacity(max_logit_rows),
        }
    }

    /// Empties the arrays and keeps their memory.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.slots.clear();
        self.spans.clear();
        self.logit_rows.clear();
        self.purposes.clear();
    }

    /// Adds tokens whose blocks are in the sequence's table already.
    pub(crate) fn push(&mut self, chunk: &Chunk, tokens: &[TokenId], sequences: &Sequences) {
        let first = self.tokens.len();
        let table_offset = sequences.table_offset(chunk.slot);
        let table = &sequences.tables()[table_offset..];
        self.tokens.extend_from_slice(tokens);
        for position in chunk.start..chunk.start + tokens.len() {
            let block = table[position / self.block_size] as usize;
            self.positions.push(position as u32);
            self.slots.push((block * self.block_size + position % self.block_size) as u32);
        }
        self.spans.push(SequenceSpan {
            row: first,
            len: tokens.len(),
            context: chunk.start + tokens.len(),
            table: table_offset,
        });
        self.push_logit_rows(chunk, first, tokens.len(), sequences.at(chunk.slot));
    }

    fn push_logit_rows(&mut self, chunk: &Chunk, first: usize, len: usize, sequence: &Sequence) {
        let scored = sequence.scored_prompt().map_or(0, |(prompt, _)| prompt.len() - 1);
        for i in 0..len {
            let position = chunk.start + i;
            let sample = chunk.sample && i + 1 == len;
            if sample || position < scored {
                self.logit_rows.push((first + i) as u32);
                self.purposes.push(LogitRow { row: chunk.row, slot: chunk.slot, position, sample });
            }
        }
    }

    /// Whether there is nothing to compute.
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What each row of logits is for, in order.
    pub(crate) fn logit_rows(&self) -> &[LogitRow] {
        &self.purposes
    }

    /// What the sampler does with row `index` of the logits.
    pub(crate) fn task<'s>(&self, index: usize, sequences: &'s Sequences) -> RowTask<'s> {
        let LogitRow { slot, position, sample, .. } = self.purposes[index];
        let sequence = sequences.at(slot);
        match sequence.scored_prompt() {
            Some((prompt, top)) if !sample => RowTask::Score { token: prompt[position + 1], top },
            _ => RowTask::Sample {
                params: &sequence.params,
                history: &sequence.history,
                generated: (position + 1).saturating_sub(sequence.prompt_len) as u64,
            },
        }
    }

    /// How many rows of logits the first `tokens` tokens have.
    pub(crate) fn logits_of(&self, tokens: usize) -> usize {
        self.logit_rows.partition_point(|&row| (row as usize) < tokens)
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The arrays, for the model.
    pub(crate) fn input<'a>(
        &'a self,
        sequences: &'a Sequences,
        deadline: Option<Deadline>,
    ) -> ModelInput<'a> {
        ModelInput {
            tokens: &self.tokens,
            positions: &self.positions,
            slots: &self.slots,
            spans: &self.spans,
            block_tables: sequences.tables(),
            logit_rows: &self.logit_rows,
            deadline,
        }
    }
}
