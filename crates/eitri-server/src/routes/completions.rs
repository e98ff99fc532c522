//! `POST /v1/completions`.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use eitri_openai::{
    CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionLogprobs,
    CompletionRequest, CompletionResponse, Usage,
};
use eitri_text::Tokenizer;

use crate::{
    ApiError, AppState,
    extract::JsonBody,
    generate::{Batch, Generation, Piece},
    logprobs::{self, Format},
    prompt::{TokenizedPrompt, tokenize_prompts},
    routes::{Envelope, StreamUsage, stream_mode},
    sampling::{self, Budget, Spec, Wanted},
    sse::{self, ChunkWriter, Events},
    unsupported,
};

const OBJECT: &str = "text_completion";
/// What the API says when a request does not.
const DEFAULT_MAX_TOKENS: i64 = 16;

/// What a choice is to show beside its text.
#[derive(Debug, Clone)]
struct Shown {
    /// For each prompt the text that is put before the answer.
    echo: Option<Vec<String>>,
    logprobs: Option<Format>,
    prompt_logprobs: Option<Format>,
    token_ids: bool,
    tokenizer: Arc<Tokenizer>,
}

/// Continues one or several texts.
pub(crate) async fn create(
    State(state): State<AppState>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<CompletionRequest>,
) -> Result<Response, ApiError> {
    let arrival = Instant::now();
    state.check_model(request.model.as_deref())?;
    unsupported::check_completion(&request.other)?;
    let usage =
        stream_mode(request.stream, request.stream_options, &request.sampling, state.config())?;
    let wanted = wanted(&request, &state)?;
    let spec = Spec::new(&request.sampling, wanted, &state)?;
    let envelope = Envelope::new("cmpl", &headers, request.sampling.request_id.as_deref(), &state);
    let mut shown = Shown {
        echo: None,
        logprobs: format(request.logprobs, &request),
        prompt_logprobs: format(request.sampling.prompt_logprobs, &request),
        token_ids: request.sampling.return_token_ids.unwrap_or(false),
        tokenizer: Arc::clone(&state.model().tokenizer),
    };
    let add_special = request.add_special_tokens.unwrap_or(true);
    let prompts = tokenize_prompts(&state, request.prompt, add_special).await?;
    if request.echo.unwrap_or(false) {
        shown.echo = Some(echo_texts(&prompts, &state)?);
    }
    let ids = prompts.into_iter().map(|prompt| prompt.ids).collect();
    let mut batch = Batch::start(&state, &spec, ids, arrival)?;
    if let Some(usage) = usage {
        let started = vec![false; batch.choices()];
        return Ok(sse::response(batch, Writer { envelope, shown, usage, started }));
    }
    let answers = batch.collect().await?;
    Ok(Json(whole(&batch, answers, &shown, envelope, state.fingerprint())).into_response())
}

fn wanted(request: &CompletionRequest, state: &AppState) -> Result<Wanted, ApiError> {
    let echo = request.echo.unwrap_or(false);
    let least = u32::from(!echo);
    let max_tokens = request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let budget = match sampling::count("max_tokens", max_tokens, least)? {
        0 => Budget::PromptOnly,
        tokens => Budget::UpTo(tokens),
    };
    let logprobs = sampling::logprobs("logprobs", request.logprobs, state.config())?;
    let asked = request.sampling.prompt_logprobs;
    let prompt_logprobs = sampling::logprobs("prompt_logprobs", asked, state.config())?;
    // An echoed prompt shows the same as the answer.
    let echoed = logprobs.filter(|_| echo);
    Ok(Wanted { budget, logprobs, prompt_logprobs: prompt_logprobs.max(echoed) })
}

fn format(top: Option<i64>, request: &CompletionRequest) -> Option<Format> {
    let as_ids = request.sampling.return_tokens_as_token_ids.unwrap_or(false);
    top.map(|top| Format { top: usize::try_from(top).unwrap_or(0), as_ids })
}

fn echo_texts(prompts: &[TokenizedPrompt], state: &AppState) -> Result<Vec<String>, ApiError> {
    let text = |prompt: &TokenizedPrompt| match &prompt.text {
        Some(text) => Ok(text.clone()),
        None => Ok(state.model().tokenizer.decode(&prompt.ids, false)?),
    };
    prompts.iter().map(text).collect()
}

impl Shown {
    fn echo(&self, position: usize) -> &str {
        self.echo.as_ref().map_or("", |texts| &texts[position])
    }

    /// Of the piece's tokens; with `from_start` those of an echoed prompt go before.
    fn logprobs(
        &self,
        generation: &Generation,
        position: usize,
        piece: &Piece,
        from_start: bool,
    ) -> Option<CompletionLogprobs> {
        let format = self.logprobs?;
        let base = self.echo(position).chars().count();
        let generated = format.completion(&self.tokenizer, &piece.tokens, &piece.offsets, base);
        match &generation.prompt_logprobs {
            Some(values) if from_start && self.echo.is_some() => {
                let echoed = format.echo(&self.tokenizer, &generation.prompt, values);
                Some(logprobs::concat(echoed, generated))
            }
            _ => Some(generated),
        }
    }
}

fn whole(
    batch: &Batch,
    answers: Vec<Vec<Piece>>,
    shown: &Shown,
    envelope: Envelope,
    fingerprint: String,
) -> CompletionResponse {
    let mut choices = Vec::with_capacity(batch.choices());
    for (position, pieces) in answers.into_iter().enumerate() {
        let generation = batch.generation(position);
        for mut piece in pieces {
            let logprobs = shown.logprobs(generation, position, &piece, true);
            let token_ids = shown.token_ids.then(|| piece.token_ids());
            let prompt_logprobs = shown.prompt_logprobs.map(|format| {
                let values = generation.prompt_logprobs.as_deref().unwrap_or_default();
                format.prompt(&shown.tokenizer, &generation.prompt, values)
            });
            let (finish_reason, stop_reason) = piece.reasons();
            choices.push(CompletionChoice {
                index: batch.choice_index(position, piece.index) as u32,
                text: format!("{}{}", shown.echo(position), piece.text),
                logprobs,
                finish_reason,
                stop_reason,
                token_ids,
                prompt_logprobs,
                prompt_token_ids: shown.token_ids.then(|| generation.prompt.clone()),
            });
        }
    }
    let Envelope { id, created, model } = envelope;
    CompletionResponse {
        id,
        object: OBJECT.to_owned(),
        created,
        model,
        choices,
        service_tier: None,
        system_fingerprint: Some(fingerprint),
        usage: batch.usage(),
        kv_transfer_params: None,
    }
}

struct Writer {
    envelope: Envelope,
    shown: Shown,
    usage: StreamUsage,
    /// Which choices have sent their first chunk.
    started: Vec<bool>,
}

impl Writer {
    fn chunk(&self, choices: Vec<CompletionChunkChoice>, usage: Option<Usage>) -> CompletionChunk {
        let Envelope { id, created, model } = self.envelope.clone();
        CompletionChunk { id, object: OBJECT.to_owned(), created, model, choices, usage }
    }
}

impl ChunkWriter for Writer {
    fn piece(&mut self, batch: &Batch, position: usize, mut piece: Piece, events: &mut Events) {
        let generation = batch.generation(position);
        let index = batch.choice_index(position, piece.index);
        let first = !std::mem::replace(&mut self.started[index], true);
        let shown = &self.shown;
        let logprobs = shown.logprobs(generation, position, &piece, first);
        let token_ids = shown.token_ids.then(|| piece.token_ids());
        let echo = if first { shown.echo(position) } else { "" };
        let (finish_reason, stop_reason) = piece.reasons();
        let choice = CompletionChunkChoice {
            index: index as u32,
            text: format!("{echo}{}", piece.text),
            logprobs,
            finish_reason,
            stop_reason,
            prompt_token_ids: (first && shown.token_ids).then(|| generation.prompt.clone()),
            token_ids,
        };
        let in_chunks = self.usage.in_chunks;
        let usage = in_chunks.then(|| batch.choice_usage(position, piece.index));
        events.push(&self.chunk(vec![choice], usage));
    }

    fn end(&mut self, batch: &Batch, events: &mut Events) {
        if self.usage.at_end {
            events.push(&self.chunk(Vec::new(), Some(batch.usage())));
        }
    }
}
