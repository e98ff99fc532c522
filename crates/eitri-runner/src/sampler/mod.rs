//! Chooses one token per row of logits, all rows at once.
//!
//! Order of work, as in vLLM: log-probabilities are taken from the raw logits; end tokens are masked
//! until `min_tokens`, `logit_bias` is added, penalties are applied; a greedy row takes the largest
//! logit (lowest id on ties); any other row is divided by the temperature, filtered by min-p, top-k
//! and top-p, and drawn from.
//!
//! A row depends on its own logits, parameters, history and seed alone, so its token is the same
//! alone and in any batch.

mod draw;
mod logprobs;
mod penalties;
mod philox;
mod select;
mod softmax;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use eitri_engine::{SamplingParams, TokenId, TokenLogprobs};
use eitri_kernels::{Context, KernelError};

use draw::DrawScratch;
pub(crate) use penalties::TokenHistory;

/// What is wanted from one row of logits.
#[derive(Clone, Copy)]
pub(crate) enum RowTask<'a> {
    /// Choose the next token of a sequence that has generated `generated` so far.
    Sample { params: &'a SamplingParams, history: &'a TokenHistory, generated: u64 },
    /// Log-probability of a known token, with those of the `top` most likely ones.
    Score { token: TokenId, top: u32 },
}

/// The token of one row.
#[derive(Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) token: TokenId,
    pub(crate) logprobs: Option<TokenLogprobs>,
}

/// Why a row has no token. The other rows of the batch are not affected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum RowError {
    /// The model produced a value that is no number.
    #[error("the model's logit of token {token} is {value}")]
    NotFinite { token: usize, value: f32 },
    /// A bias that cannot be applied.
    #[error("logit_bias names token {token}, but token ids end at {last}")]
    BiasOutside { token: TokenId, last: usize },
    /// Nothing is left to choose from.
    #[error("min_tokens and stop_token_ids together forbid every token")]
    NothingLeft,
}

/// Result of one row; `None` before it was computed.
pub(crate) type Outcome = Option<Result<Choice, RowError>>;

struct Scratch {
    raw: Vec<f32>,
    draw: DrawScratch,
}

/// Memory for sampling from a vocabulary of a fixed size.
pub(crate) struct Sampler {
    vocab: usize,
    /// One per thread.
    scratch: Vec<Mutex<Scratch>>,
    outcomes: Vec<Outcome>,
}

impl Sampler {
    /// Memory for `max_rows` rows on `threads` threads.
    pub(crate) fn new(vocab: usize, max_rows: usize, threads: usize) -> Self {
        let scratch = || {
            Mutex::new(Scratch { raw: Vec::with_capacity(vocab), draw: DrawScratch::new(vocab) })
        };
        Self {
            vocab,
            scratch: (0..threads).map(|_| scratch()).collect(),
            outcomes: (0..max_rows).map(|_| None).collect(),
        }
    }

    /// Bytes that [`Self::new`] allocates, for the memory plan.
    pub(crate) fn bytes(vocab: usize, threads: usize) -> u64 {
        let per_token = 2 * size_of::<f32>() + size_of::<select::Candidate>();
        (vocab * per_token * threads) as u64
    }

    /// Carries out `task(row)` for the first `rows` rows of `logits` `[max_rows, vocab]`, f32, which
    /// are overwritten. Outcomes are in the order of the rows.
    ///
    /// # Errors
    /// When the tensor has another shape or type, or a thread panicked.
    pub(crate) fn run<'t>(
        &mut self,
        ctx: &Context,
        logits: &Tensor,
        rows: usize,
        task: &(dyn Fn(usize) -> RowTask<'t> + Sync),
    ) -> Result<&mut [Outcome], KernelError> {
        let shape =
            |expected, got| KernelError::Shape { op: "sample", what: "logits", expected, got };
        if rows > self.outcomes.len() {
            return Err(shape(format!("at most {} rows", self.outcomes.len()), rows.to_string()));
        }
        let (vocab, scratch) = (self.vocab, &self.scratch);
        let outcomes = &mut self.outcomes[..rows];
        eitri_kernels::write::<f32, _>(logits, |data| {
            if data.len() < rows * vocab {
                return Err(shape(format!("[{rows}, {vocab}]"), format!("{} values", data.len())));
            }
            let queue = Mutex::new(
                data.chunks_exact_mut(vocab).zip(outcomes.iter_mut()).enumerate().take(rows),
            );
            let work = |thread: usize| {
                let mut scratch = scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((index, (row, outcome))) = next else { break };
                    *outcome = Some(choose(row, &task(index), &mut scratch));
                }
            };
            if rows <= 1 {
                // Waking the other threads would cost more than they could save.
                work(0);
                return Ok(());
            }
            ctx.pool().run(&work)
        })??;
        Ok(outcomes)
    }
}

fn choose(row: &mut [f32], task: &RowTask<'_>, scratch: &mut Scratch) -> Result<Choice, RowError> {
    if let Some(token) = softmax::first_not_finite(row) {
        return Err(RowError::NotFinite { token, value: row[token] });
    }
    let Scratch { raw, draw } = scratch;
    let (params, history, generated) = match *task {
        RowTask::Score { token, top } => {
            let logprobs = logprobs::logprobs(row, token, top, &mut draw.candidates);
            return Ok(Choice { token, logprobs: Some(logprobs) });
        }
        RowTask::Sample { params, history, generated } => (params, history, generated),
    };
    if params.logprobs.is_some() {
        raw.clear();
        raw.extend_from_slice(row);
    }
    penalties::mask_end_tokens(row, params, generated);
    penalties::add_bias(row, params)
        .map_err(|token| RowError::BiasOutside { token, last: row.len() - 1 })?;
    penalties::penalise(row, params, history);
    let token = if params.is_greedy() {
        softmax::argmax(row).map(|token| token as TokenId)
    } else {
        draw::draw(row, params, generated, draw)
    };
    let token = token.ok_or(RowError::NothingLeft)?;
    let logprobs =
        params.logprobs.map(|top| logprobs::logprobs(raw, token, top, &mut draw.candidates));
    Ok(Choice { token, logprobs })
}
