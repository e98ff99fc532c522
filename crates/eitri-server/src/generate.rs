//! From the engine's events to pieces of text; all routes that generate share it.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use eitri_engine::{
    FinishReason, GeneratedToken, RequestTiming, TokenEvent, TokenLogprobs, TokenStream,
};
use eitri_openai::{StopReason, Usage};
use eitri_text::TextDecoder;

use crate::{
    ApiError, AppState,
    metrics::{Ending, Metrics},
    sampling::{Budget, Spec},
};

/// How a continuation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finish {
    /// `stop`, `length` or `abort`.
    pub(crate) reason: &'static str,
    pub(crate) stop_reason: StopReason,
}

/// What is new in one continuation, or all of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Piece {
    /// Which of the `n` continuations.
    pub(crate) index: usize,
    pub(crate) text: String,
    pub(crate) tokens: Vec<GeneratedToken>,
    /// Characters of the continuation before each token.
    pub(crate) offsets: Vec<usize>,
    pub(crate) finish: Option<Finish>,
}

impl Piece {
    fn append(&mut self, next: Self) {
        self.text.push_str(&next.text);
        self.tokens.extend(next.tokens);
        self.offsets.extend(next.offsets);
        self.finish = next.finish;
    }

    /// `finish_reason` and `stop_reason`.
    pub(crate) fn reasons(&mut self) -> (Option<String>, StopReason) {
        match self.finish.take() {
            Some(Finish { reason, stop_reason }) => (Some(reason.to_owned()), stop_reason),
            None => (None, StopReason::default()),
        }
    }

    pub(crate) fn token_ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

#[derive(Debug)]
struct Continuation {
    decoder: TextDecoder,
    generated: usize,
    cached: usize,
    /// Holds the last tokens until the end is known, so that one piece carries both.
    held: Option<Piece>,
    /// When its first and its latest tokens came.
    times: Option<(Instant, Instant)>,
    done: bool,
}

/// One prompt that is being continued. Dropping it aborts what is not finished.
#[derive(Debug)]
pub(crate) struct Generation {
    stream: TokenStream,
    pub(crate) prompt: Vec<u32>,
    /// Of the prompt's tokens from the second one on, once they are known and when asked for.
    pub(crate) prompt_logprobs: Option<Vec<TokenLogprobs>>,
    continuations: Vec<Continuation>,
    open: usize,
    budget: Budget,
    max_tokens: usize,
    end_token_ids: Vec<u32>,
    arrival: Instant,
    metrics: Arc<Metrics>,
}

impl Generation {
    fn start(
        state: &AppState,
        spec: &Spec,
        prompt: Vec<u32>,
        arrival: Instant,
    ) -> Result<Self, ApiError> {
        let model = state.model();
        let (request, options) = spec.for_prompt(prompt.clone(), model.max_model_len)?;
        let end_token_ids = options.end_token_ids.clone();
        let decoder = TextDecoder::new(Arc::clone(&model.tokenizer), &prompt, options)?;
        let continuation = || Continuation {
            decoder: decoder.clone(),
            generated: 0,
            cached: 0,
            held: None,
            times: None,
            done: false,
        };
        let (n, max_tokens) = (spec.n as usize, request.params.max_tokens);
        let stream = state.submit(request)?;
        state.metrics().accepted(spec.n, max_tokens);
        Ok(Self {
            stream,
            prompt,
            prompt_logprobs: None,
            continuations: (0..n).map(|_| continuation()).collect(),
            open: n,
            budget: spec.budget,
            max_tokens: max_tokens as usize,
            end_token_ids,
            arrival,
            metrics: Arc::clone(state.metrics()),
        })
    }

    /// Tokens of the prompt, tokens that continuation `index` has so far, and cached tokens.
    fn counts(&self, index: usize) -> (usize, usize, usize) {
        let continuation = &self.continuations[index];
        (self.prompt.len(), continuation.generated, continuation.cached)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Piece, ApiError>>> {
        while self.open > 0 {
            let Some(event) = ready!(self.stream.poll_next(context)) else { break };
            match event {
                TokenEvent::Prompt { logprobs, .. } => self.prompt_logprobs = Some(logprobs),
                TokenEvent::Tokens { index, tokens, cached } => {
                    if let Some(piece) = self.take_tokens(index as usize, tokens, cached) {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                TokenEvent::Finished { index, reason, usage, timing } => {
                    let index = index as usize;
                    if self.continuations[index].done {
                        continue;
                    }
                    self.continuations[index].cached = usage.cached;
                    return Poll::Ready(Some(self.end(index, reason, timing)));
                }
            }
        }
        Poll::Ready(None)
    }

    /// The piece that new tokens give, unless it has to wait for the end that must follow.
    fn take_tokens(
        &mut self,
        index: usize,
        mut tokens: Vec<GeneratedToken>,
        cached: usize,
    ) -> Option<Piece> {
        let continuation = &mut self.continuations[index];
        if continuation.done {
            return None;
        }
        continuation.cached = cached;
        let now = Instant::now();
        if let Some((_, latest)) = &mut continuation.times {
            self.metrics.further_token(now.saturating_duration_since(*latest));
            *latest = now;
        } else {
            self.metrics.first_token(now.saturating_duration_since(self.arrival));
            continuation.times = Some((now, now));
        }
        if self.budget == Budget::PromptOnly {
            let finish = Finish { reason: "length", stop_reason: StopReason::default() };
            self.close(index, finish.reason, None);
            return Some(Piece { index, finish: Some(finish), ..Piece::default() });
        }
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let delta = continuation.decoder.push(&ids);
        tokens.truncate(delta.tokens);
        continuation.generated += tokens.len();
        let last = ids.last().is_some_and(|id| self.end_token_ids.contains(id))
            || continuation.generated >= self.max_tokens;
        let stop = delta.stopped.map(|stop| Finish {
            reason: "stop",
            stop_reason: StopReason::Text(stop.as_ref().to_owned()),
        });
        let piece = Piece { index, text: delta.text, tokens, offsets: delta.offsets, finish: stop };
        let mut whole = continuation.held.take();
        match &mut whole {
            Some(held) => held.append(piece),
            None => whole = Some(piece),
        }
        if whole.as_ref().is_some_and(|piece| piece.finish.is_some()) {
            // The engine knows no stop strings and would go on.
            self.stream.abort_continuation(index as u32);
            self.close(index, "stop", None);
        } else if last {
            continuation.held = whole.take();
        }
        whole
    }

    fn end(
        &mut self,
        index: usize,
        reason: FinishReason,
        timing: RequestTiming,
    ) -> Result<Piece, ApiError> {
        let none = StopReason::default();
        let (reason, stop_reason) = match reason {
            FinishReason::Eos => ("stop", none),
            FinishReason::StopToken(token) => ("stop", StopReason::Token(token)),
            FinishReason::Length => ("length", none),
            FinishReason::Abort => ("abort", none),
            FinishReason::Deadline => ("abort", StopReason::Text("deadline".to_owned())),
            FinishReason::Error(message) => {
                self.close(index, "error", Some(timing));
                return Err(ApiError::Engine(message));
            }
        };
        let continuation = &mut self.continuations[index];
        let mut piece =
            continuation.held.take().unwrap_or_else(|| Piece { index, ..Piece::default() });
        piece.text.push_str(&continuation.decoder.finish().text);
        piece.finish = Some(Finish { reason, stop_reason });
        self.close(index, reason, Some(timing));
        Ok(piece)
    }

    fn close(&mut self, index: usize, reason: &'static str, timing: Option<RequestTiming>) {
        let continuation = &mut self.continuations[index];
        continuation.done = true;
        self.open -= 1;
        let decode = continuation
            .times
            .map_or(Duration::ZERO, |(first, latest)| latest.saturating_duration_since(first));
        self.metrics.finished(&Ending {
            reason,
            elapsed: self.arrival.elapsed(),
            decode,
            prompt_tokens: self.prompt.len(),
            generated: continuation.generated,
            timing,
        });
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        for index in 0..self.continuations.len() {
            if !self.continuations[index].done {
                self.close(index, "abort", None);
            }
        }
    }
}

/// All prompts of one request. Choices are numbered prompt by prompt.
#[derive(Debug)]
pub(crate) struct Batch {
    generations: Vec<Generation>,
    n: usize,
    /// The prompt that is looked at first, so that none is starved.
    turn: usize,
}

impl Batch {
    /// Submits all prompts. When one is refused, those before it are aborted.
    pub(crate) fn start(
        state: &AppState,
        spec: &Spec,
        prompts: Vec<Vec<u32>>,
        arrival: Instant,
    ) -> Result<Self, ApiError> {
        let start = |prompt| Generation::start(state, spec, prompt, arrival);
        let generations: Result<_, _> = prompts.into_iter().map(start).collect();
        Ok(Self { generations: generations?, n: spec.n as usize, turn: 0 })
    }

    /// The prompt at `position`.
    pub(crate) fn generation(&self, position: usize) -> &Generation {
        &self.generations[position]
    }

    /// Number of choices.
    pub(crate) fn choices(&self) -> usize {
        self.generations.len() * self.n
    }

    /// Number of a choice among all.
    pub(crate) fn choice_index(&self, position: usize, index: usize) -> usize {
        position * self.n + index
    }

    /// The next piece of any prompt, with the prompt's position; `None` when all have ended. After
    /// an error the batch is of no use any more and is to be dropped.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<(usize, Piece), ApiError>>> {
        let mut pending = false;
        for offset in 0..self.generations.len() {
            let position = (self.turn + offset) % self.generations.len();
            match self.generations[position].poll_next(context) {
                Poll::Pending => pending = true,
                Poll::Ready(None) => {}
                Poll::Ready(Some(result)) => {
                    self.turn = position + 1;
                    return Poll::Ready(Some(result.map(|piece| (position, piece))));
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(None) }
    }

    /// Waits until all have ended. Gives for each prompt its whole continuations.
    pub(crate) async fn collect(&mut self) -> Result<Vec<Vec<Piece>>, ApiError> {
        let empty = |index| Piece { index, ..Piece::default() };
        let mut answers: Vec<Vec<Piece>> =
            self.generations.iter().map(|_| (0..self.n).map(empty).collect()).collect();
        while let Some(result) = poll_fn(|context| self.poll_next(context)).await {
            let (position, piece) = result?;
            answers[position][piece.index].append(piece);
        }
        Ok(answers)
    }

    /// Token counts of everything. A prompt counts once.
    pub(crate) fn usage(&self) -> Usage {
        let (mut prompt, mut completion, mut cached) = (0, 0, 0);
        for generation in &self.generations {
            let (prompt_tokens, _, cached_tokens) = generation.counts(0);
            prompt += prompt_tokens;
            cached += cached_tokens;
            completion += generation.continuations.iter().map(|c| c.generated).sum::<usize>();
        }
        Usage::new(prompt, completion, cached)
    }

    /// Token counts of one choice so far.
    pub(crate) fn choice_usage(&self, position: usize, index: usize) -> Usage {
        let (prompt, generated, cached) = self.generations[position].counts(index);
        Usage::new(prompt, generated, cached)
    }
}
