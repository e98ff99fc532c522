//! A running generation: tokens from the engine become text.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use eitri_engine::{FinishReason as EngineReason, GeneratedToken, TokenEvent, TokenStream};
use eitri_engine::{TokenId, TokenUsage};
use eitri_text::{AnswerParser, ParserOptions, TextDecoder};
use futures_core::Stream;

use crate::{Answer, Error};

/// What one or more tokens added to a generation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Piece {
    /// New text, final; empty while a character or the start of a stop string is incomplete.
    pub text: String,
    /// New tokens, an end token included.
    pub tokens: Vec<GeneratedToken>,
    /// Present in the last piece.
    pub finish: Option<Finish>,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// Token counts.
    pub usage: TokenUsage,
}

/// Why a generation ended. Failures are errors, not reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model chose one of its end tokens.
    Eos,
    /// The model chose one of the options' `stop_token_ids`.
    StopToken(TokenId),
    /// One of the options' `stop` strings appeared.
    StopString(Arc<str>),
    /// `max_tokens` or the context length was reached.
    Length,
    /// `deadline` or `max_ttft` passed.
    Deadline,
    /// The engine was shut down.
    Abort,
}

/// A whole generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Its text.
    pub text: String,
    /// Its tokens, an end token included.
    pub tokens: Vec<GeneratedToken>,
    /// How it ended.
    pub finish: Finish,
}

/// A generation for async code: a [`Stream`] of pieces. Dropping it ends the generation.
///
/// It works on any executor. After the piece with `finish`, or an error, it is at its end.
#[derive(Debug)]
pub struct Generation {
    events: TokenStream,
    pieces: Pieces,
    parser: ParserOptions,
}

/// A generation for blocking code: an iterator of pieces. Dropping it ends the generation.
///
/// Its `next` waits and must not be called from async code.
#[derive(Debug)]
pub struct BlockingGeneration(Generation);

/// Turns events into pieces.
#[derive(Debug)]
struct Pieces {
    decoder: TextDecoder,
    usage: TokenUsage,
    ended: bool,
}

impl Generation {
    pub(crate) fn new(
        events: TokenStream,
        decoder: TextDecoder,
        prompt_tokens: usize,
        parser: ParserOptions,
    ) -> Self {
        let usage = TokenUsage { prompt: prompt_tokens, cached: 0, generated: 0 };
        Self { events, pieces: Pieces { decoder, usage, ended: false }, parser }
    }

    /// Splits the text of the pieces, as they come, into reasoning, content and tool calls; all is
    /// content where the prompt is no conversation.
    pub fn answer_parser(&self) -> AnswerParser {
        AnswerParser::new(self.parser)
    }

    /// Waits for the next piece; `None` at the end. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Option<Result<Piece, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Waits for the end and returns everything from here on.
    ///
    /// # Errors
    /// When the generation fails.
    pub async fn completion(mut self) -> Result<Completion, Error> {
        let mut whole = Piece::default();
        while let Some(piece) = self.next().await {
            whole.append(piece?);
        }
        whole.into_completion()
    }

    /// [`Generation::completion`], split into reasoning, content and tool calls.
    ///
    /// # Errors
    /// When the generation fails.
    pub async fn answer(self) -> Result<Answer, Error> {
        let parser = self.answer_parser();
        Answer::new(self.completion().await?, parser)
    }

    /// The same generation for blocking code.
    pub fn into_blocking(self) -> BlockingGeneration {
        BlockingGeneration(self)
    }
}

impl Stream for Generation {
    type Item = Result<Piece, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.pieces.ended {
                return Poll::Ready(None);
            }
            let Poll::Ready(event) = this.events.poll_next(context) else { return Poll::Pending };
            if let Some(piece) = this.pieces.take(event) {
                this.abort_if_ended();
                return Poll::Ready(Some(piece));
            }
        }
    }
}

impl Generation {
    /// A stop string is found here and not in the engine, which would go on.
    fn abort_if_ended(&mut self) {
        if self.pieces.ended {
            self.events.abort();
        }
    }
}

impl BlockingGeneration {
    /// Waits for the end and returns everything from here on.
    ///
    /// # Errors
    /// When the generation fails.
    pub fn completion(self) -> Result<Completion, Error> {
        let mut whole = Piece::default();
        for piece in self {
            whole.append(piece?);
        }
        whole.into_completion()
    }

    /// [`BlockingGeneration::completion`], split into reasoning, content and tool calls.
    ///
    /// # Errors
    /// When the generation fails.
    pub fn answer(self) -> Result<Answer, Error> {
        let parser = self.0.answer_parser();
        Answer::new(self.completion()?, parser)
    }
}

impl Iterator for BlockingGeneration {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let Generation { events, pieces, .. } = &mut self.0;
        while !pieces.ended {
            let event = events.blocking_next();
            if let Some(piece) = pieces.take(event) {
                self.0.abort_if_ended();
                return Some(piece);
            }
        }
        None
    }
}

impl Pieces {
    /// The piece that an event makes, if any.
    fn take(&mut self, event: Option<TokenEvent>) -> Option<Result<Piece, Error>> {
        match event {
            None => {
                self.ended = true;
                None
            }
            Some(TokenEvent::Prompt { .. }) => None,
            Some(TokenEvent::Tokens { tokens, cached, .. }) => {
                self.usage.cached = cached;
                Some(Ok(self.tokens(tokens)))
            }
            Some(TokenEvent::Finished { reason, usage, .. }) => {
                self.ended = true;
                Some(self.finish(reason, usage))
            }
        }
    }

    fn tokens(&mut self, mut tokens: Vec<GeneratedToken>) -> Piece {
        let ids: Vec<TokenId> = tokens.iter().map(|token| token.id).collect();
        let delta = self.decoder.push(&ids);
        // Tokens behind a stop string are not part of the generation.
        tokens.truncate(delta.tokens);
        self.usage.generated += tokens.len();
        let finish = delta.stopped.map(|stop| {
            self.ended = true;
            Finish { reason: FinishReason::StopString(stop), usage: self.usage }
        });
        Piece { text: delta.text, tokens, finish }
    }

    fn finish(&mut self, reason: EngineReason, usage: TokenUsage) -> Result<Piece, Error> {
        let reason = match reason {
            EngineReason::Eos => FinishReason::Eos,
            EngineReason::StopToken(token) => FinishReason::StopToken(token),
            EngineReason::Length => FinishReason::Length,
            EngineReason::Abort => FinishReason::Abort,
            EngineReason::Deadline => FinishReason::Deadline,
            EngineReason::Error(message) => return Err(Error::Generation(message)),
        };
        let text = self.decoder.finish().text;
        Ok(Piece { text, tokens: Vec::new(), finish: Some(Finish { reason, usage }) })
    }
}

impl Piece {
    fn append(&mut self, next: Self) {
        self.text.push_str(&next.text);
        self.tokens.extend(next.tokens);
        self.finish = next.finish;
    }

    fn into_completion(self) -> Result<Completion, Error> {
        let Self { text, tokens, finish } = self;
        let ended = || Error::Generation(Arc::from("it had ended before"));
        Ok(Completion { text, tokens, finish: finish.ok_or_else(ended)? })
    }
}
