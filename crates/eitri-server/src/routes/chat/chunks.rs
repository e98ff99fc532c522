//! The chunks of a streamed answer.

use eitri_openai::{ChatChunk, ChatChunkChoice, ChatDelta, FunctionDelta, ToolCallDelta, Usage};
use eitri_text::AnswerDelta;

use super::{
    Shown,
    answer::{AnswerReader, call_id},
};
use crate::{
    generate::{Batch, Piece},
    routes::{Envelope, StreamUsage},
    sse::{ChunkWriter, Events},
};

const OBJECT: &str = "chat.completion.chunk";

pub(super) struct Writer {
    envelope: Envelope,
    shown: Shown,
    usage: StreamUsage,
    /// One per choice.
    readers: Vec<AnswerReader>,
    /// Whether the role chunks have been sent.
    started: bool,
}

impl Writer {
    pub(super) fn new(
        envelope: Envelope,
        shown: Shown,
        usage: StreamUsage,
        choices: usize,
    ) -> Self {
        let readers = vec![AnswerReader::new(shown.answer); choices];
        Self { envelope, shown, usage, readers, started: false }
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        let Envelope { id, created, model } = self.envelope.clone();
        let object = OBJECT.to_owned();
        ChatChunk { id, object, created, model, choices, usage, prompt_token_ids: None }
    }

    /// One chunk per choice that says who speaks. They are sent when the first token is there,
    /// because clients take them for it.
    fn roles(&self, batch: &Batch, events: &mut Events) {
        for index in 0..batch.choices() {
            let choice = ChatChunkChoice {
                index: index as u32,
                delta: ChatDelta {
                    role: Some("assistant".to_owned()),
                    content: Some(String::new()),
                    ..ChatDelta::default()
                },
                ..ChatChunkChoice::default()
            };
            let (prompt, cached) = {
                let usage = batch.choice_usage(0, index);
                (usage.prompt_tokens, usage.prompt_tokens_details.unwrap_or_default())
            };
            let usage = Usage::new(prompt, 0, cached.cached_tokens);
            let mut chunk = self.chunk(vec![choice], self.usage.in_chunks.then_some(usage));
            if self.shown.token_ids {
                chunk.prompt_token_ids = Some(batch.generation(0).prompt.clone());
            }
            events.push(&chunk);
        }
    }
}

impl ChunkWriter for Writer {
    /// The chunks that a piece makes: one per part of the answer that it adds to. What belongs to
    /// its tokens is in the first, how the choice ended in the last.
    fn piece(&mut self, batch: &Batch, position: usize, mut piece: Piece, events: &mut Events) {
        if !std::mem::replace(&mut self.started, true) {
            self.roles(batch, events);
        }
        let usage = self.usage.in_chunks.then(|| batch.choice_usage(position, piece.index));
        let reader = &mut self.readers[piece.index];
        let deltas = reader.push(&piece.text, piece.finish.is_some());
        let (finish_reason, stop_reason) = piece.reasons();
        let mut choices: Vec<ChatChunkChoice> = deltas.into_iter().map(chunk_choice).collect();
        if choices.is_empty() {
            let delta = ChatDelta { content: Some(String::new()), ..ChatDelta::default() };
            choices.push(ChatChunkChoice { delta, ..ChatChunkChoice::default() });
        }
        if let Some(first) = choices.first_mut() {
            first.logprobs = self.shown.logprobs(&piece);
            first.token_ids = self.shown.token_ids.then(|| piece.token_ids());
        }
        if let Some(last) = choices.last_mut() {
            last.stop_reason = finish_reason.is_some().then_some(stop_reason);
            last.finish_reason = finish_reason.map(|reason| reader.finish_reason(reason));
        }
        for mut choice in choices {
            choice.index = piece.index as u32;
            events.push(&self.chunk(vec![choice], usage));
        }
    }

    fn end(&mut self, batch: &Batch, events: &mut Events) {
        if self.usage.at_end {
            events.push(&self.chunk(Vec::new(), Some(batch.usage())));
        }
    }
}

fn chunk_choice(delta: AnswerDelta) -> ChatChunkChoice {
    let delta = match delta {
        AnswerDelta::Content(text) => ChatDelta { content: Some(text), ..ChatDelta::default() },
        AnswerDelta::Reasoning(text) => ChatDelta {
            reasoning: Some(text.clone()),
            reasoning_content: Some(text),
            ..ChatDelta::default()
        },
        AnswerDelta::ToolCallStart { index, name } => called(ToolCallDelta {
            index: index as u32,
            id: Some(call_id()),
            kind: Some("function".to_owned()),
            function: FunctionDelta { name: Some(name), arguments: Some(String::new()) },
        }),
        AnswerDelta::ToolCallArguments { index, text } => called(ToolCallDelta {
            index: index as u32,
            function: FunctionDelta { name: None, arguments: Some(text) },
            ..ToolCallDelta::default()
        }),
    };
    ChatChunkChoice { delta, ..ChatChunkChoice::default() }
}

fn called(call: ToolCallDelta) -> ChatDelta {
    ChatDelta { tool_calls: vec![call], ..ChatDelta::default() }
}
