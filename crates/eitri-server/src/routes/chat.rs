//! `POST /v1/chat/completions`.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use eitri_openai::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatDelta, ChatRequest, ChatResponse,
    Usage,
};
use eitri_text::Tokenizer;

use crate::{
    ApiError, AppState,
    extract::JsonBody,
    generate::{Batch, Piece},
    logprobs::Format,
    prompt::{Conversation, tokenize_chat},
    routes::{Envelope, StreamUsage, stream_mode},
    sampling::{self, Budget, Spec, Wanted},
    sse::{self, ChunkWriter, Events},
    unsupported,
};

const OBJECT: &str = "chat.completion";
const CHUNK_OBJECT: &str = "chat.completion.chunk";

/// What a choice is to show beside its text.
#[derive(Debug, Clone)]
struct Shown {
    logprobs: Option<Format>,
    prompt_logprobs: Option<Format>,
    token_ids: bool,
    tokenizer: Arc<Tokenizer>,
}

/// Answers in a conversation.
pub(crate) async fn create(
    State(state): State<AppState>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let arrival = Instant::now();
    state.check_model(request.model.as_deref())?;
    unsupported::check_chat(&request.other)?;
    let usage =
        stream_mode(request.stream, request.stream_options, &request.sampling, state.config())?;
    let (wanted, shown) = wanted(&request, &state)?;
    let spec = Spec::new(&request.sampling, wanted, &state)?;
    let envelope =
        Envelope::new("chatcmpl", &headers, request.sampling.request_id.as_deref(), &state);
    let prompt = tokenize_chat(&state, conversation(request)).await?;
    let mut batch = Batch::start(&state, &spec, vec![prompt], arrival)?;
    if let Some(usage) = usage {
        return Ok(sse::response(batch, Writer { envelope, shown, usage, started: false }));
    }
    let answers = batch.collect().await?.into_iter().flatten();
    let choices = answers.map(|piece| shown.choice(piece)).collect();
    Ok(Json(shown.whole(&batch, choices, envelope, state.fingerprint())).into_response())
}

fn wanted(request: &ChatRequest, state: &AppState) -> Result<(Wanted, Shown), ApiError> {
    let (max_tokens, field) = match (request.max_completion_tokens, request.max_tokens) {
        (Some(tokens), _) => (Some(tokens), "max_completion_tokens"),
        (None, tokens) => (tokens, "max_tokens"),
    };
    let max_tokens = match max_tokens {
        Some(tokens) => sampling::count(field, tokens, 1)?,
        None => state.model().defaults.max_new_tokens.unwrap_or(u32::MAX),
    };
    let wants_logprobs = request.logprobs.unwrap_or(false);
    let top = request.top_logprobs.filter(|&top| top != 0 || wants_logprobs);
    let top = sampling::logprobs("top_logprobs", top, state.config())?;
    if top.is_some() && !wants_logprobs {
        let message = "top_logprobs can only be set together with logprobs";
        return Err(ApiError::field("top_logprobs", message));
    }
    let asked = request.sampling.prompt_logprobs;
    let prompt_logprobs = sampling::logprobs("prompt_logprobs", asked, state.config())?;
    let logprobs = wants_logprobs.then(|| top.unwrap_or(0));
    let as_ids = request.sampling.return_tokens_as_token_ids.unwrap_or(false);
    let format = |top: u32| Format { top: top as usize, as_ids };
    let shown = Shown {
        logprobs: logprobs.map(format),
        prompt_logprobs: prompt_logprobs.map(format),
        token_ids: request.sampling.return_token_ids.unwrap_or(false),
        tokenizer: Arc::clone(&state.model().tokenizer),
    };
    Ok((Wanted { budget: Budget::UpTo(max_tokens.max(1)), logprobs, prompt_logprobs }, shown))
}

fn conversation(request: ChatRequest) -> Conversation {
    Conversation {
        messages: request.messages,
        tools: None,
        add_generation_prompt: request.add_generation_prompt.unwrap_or(true),
        continue_final_message: request.continue_final_message.unwrap_or(false),
        add_special_tokens: request.add_special_tokens.unwrap_or(false),
        chat_template: request.chat_template,
        kwargs: request.chat_template_kwargs,
    }
}

impl Shown {
    fn choice(&self, mut piece: Piece) -> ChatChoice {
        let logprobs = self.logprobs.map(|format| format.chat(&self.tokenizer, &piece.tokens));
        let token_ids = self.token_ids.then(|| piece.token_ids());
        let (finish_reason, stop_reason) = piece.reasons();
        ChatChoice {
            index: piece.index as u32,
            message: AssistantMessage::text(piece.text),
            logprobs,
            finish_reason,
            stop_reason,
            token_ids,
        }
    }

    fn whole(
        &self,
        batch: &Batch,
        choices: Vec<ChatChoice>,
        envelope: Envelope,
        fingerprint: String,
    ) -> ChatResponse {
        let generation = batch.generation(0);
        let prompt_logprobs = self.prompt_logprobs.map(|format| {
            let values = generation.prompt_logprobs.as_deref().unwrap_or_default();
            format.prompt(&self.tokenizer, &generation.prompt, values)
        });
        let Envelope { id, created, model } = envelope;
        ChatResponse {
            id,
            object: OBJECT.to_owned(),
            created,
            model,
            choices,
            service_tier: None,
            system_fingerprint: Some(fingerprint),
            usage: batch.usage(),
            prompt_logprobs,
            prompt_token_ids: self.token_ids.then(|| generation.prompt.clone()),
            kv_transfer_params: None,
        }
    }
}

struct Writer {
    envelope: Envelope,
    shown: Shown,
    usage: StreamUsage,
    /// Whether the role chunks have been sent.
    started: bool,
}

impl Writer {
    fn chunk(&self, choices: Vec<ChatChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        let Envelope { id, created, model } = self.envelope.clone();
        let object = CHUNK_OBJECT.to_owned();
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
    fn piece(&mut self, batch: &Batch, position: usize, piece: Piece, events: &mut Events) {
        if !std::mem::replace(&mut self.started, true) {
            self.roles(batch, events);
        }
        let usage = self.usage.in_chunks.then(|| batch.choice_usage(position, piece.index));
        let ChatChoice { index, message, logprobs, finish_reason, stop_reason, token_ids } =
            self.shown.choice(piece);
        let choice = ChatChunkChoice {
            index,
            delta: ChatDelta { role: None, content: message.content },
            logprobs,
            stop_reason: finish_reason.is_some().then_some(stop_reason),
            finish_reason,
            token_ids,
        };
        events.push(&self.chunk(vec![choice], usage));
    }

    fn end(&mut self, batch: &Batch, events: &mut Events) {
        if self.usage.at_end {
            events.push(&self.chunk(Vec::new(), Some(batch.usage())));
        }
    }
}
