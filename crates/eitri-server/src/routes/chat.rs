//! `POST /v1/chat/completions`.

mod answer;
mod chunks;

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use eitri_openai::{ChatChoice, ChatLogprobs, ChatRequest, ChatResponse};
use eitri_text::{ParserOptions, Tokenizer};
use serde_json::Value;

use crate::{
    ApiError, AppState,
    extract::JsonBody,
    generate::{Batch, Piece},
    logprobs::Format,
    prompt::{Conversation, tokenize_chat},
    routes::{Envelope, stream_mode},
    sampling::{self, Budget, Spec, Wanted},
    sse,
    tools::Tools,
    unsupported,
};
use answer::{AnswerOptions, AnswerReader, message_of};
use chunks::Writer;

const OBJECT: &str = "chat.completion";

/// What a choice is to show beside its text.
#[derive(Debug, Clone)]
struct Shown {
    answer: AnswerOptions,
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
    let tools = Tools::of(&request, &state)?;
    let (wanted, mut shown) = wanted(&request, &state)?;
    let spec = Spec::new(&request.sampling, wanted, &state)?;
    let envelope =
        Envelope::new("chatcmpl", &headers, request.sampling.request_id.as_deref(), &state);
    let prompt = tokenize_chat(&state, conversation(request, tools.shown)).await?;
    shown.answer.parser = state.model().answer_format.options(&prompt.text, tools.parse);
    let mut batch = Batch::start(&state, &spec, vec![prompt.ids], arrival)?;
    if let Some(usage) = usage {
        let choices = batch.choices();
        return Ok(sse::response(batch, Writer::new(envelope, shown, usage, choices)));
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
        answer: AnswerOptions {
            // It depends on the prompt, which is not rendered yet.
            parser: ParserOptions::default(),
            include_reasoning: request.include_reasoning.unwrap_or(true),
            parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        },
        logprobs: logprobs.map(format),
        prompt_logprobs: prompt_logprobs.map(format),
        token_ids: request.sampling.return_token_ids.unwrap_or(false),
        tokenizer: Arc::clone(&state.model().tokenizer),
    };
    Ok((Wanted { budget: Budget::UpTo(max_tokens.max(1)), logprobs, prompt_logprobs }, shown))
}

fn conversation(request: ChatRequest, tools: Option<Vec<Value>>) -> Conversation {
    Conversation {
        messages: request.messages,
        tools,
        add_generation_prompt: request.add_generation_prompt.unwrap_or(true),
        continue_final_message: request.continue_final_message.unwrap_or(false),
        add_special_tokens: request.add_special_tokens.unwrap_or(false),
        chat_template: request.chat_template,
        kwargs: request.chat_template_kwargs,
    }
}

impl Shown {
    /// A whole choice.
    fn choice(&self, mut piece: Piece) -> ChatChoice {
        let mut reader = AnswerReader::new(self.answer);
        let deltas = reader.push(&piece.text, true);
        let (finish_reason, stop_reason) = piece.reasons();
        ChatChoice {
            index: piece.index as u32,
            message: message_of(deltas),
            logprobs: self.logprobs(&piece),
            finish_reason: finish_reason.map(|reason| reader.finish_reason(reason)),
            stop_reason,
            token_ids: self.token_ids.then(|| piece.token_ids()),
        }
    }

    fn logprobs(&self, piece: &Piece) -> Option<ChatLogprobs> {
        self.logprobs.map(|format| format.chat(&self.tokenizer, &piece.tokens))
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
