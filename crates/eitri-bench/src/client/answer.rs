//! What events mean, and when they came.

use std::{borrow::Cow, time::Instant};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{Api, RequestOptions};
use crate::{
    Compat,
    outcome::{Failure, FailureKind, RequestRecord},
    progress::Progress,
};

/// How much of a server's text is kept in a message, in characters.
const EXTRACT: usize = 300;

/// A chunk of a completion or of a chat.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

/// Of completions and chats, and under other names of responses.
#[derive(Deserialize)]
struct Usage {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<usize>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<usize>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<UsageDetails>,
}

#[derive(Deserialize)]
struct UsageDetails {
    cached_tokens: Option<usize>,
}

/// An event of a response.
#[derive(Deserialize)]
struct ResponseEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delta: Option<Cow<'a, str>>,
    response: Option<ResponseEnd>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct ResponseEnd {
    status: Option<String>,
    usage: Option<Usage>,
    error: Option<Value>,
}

/// Fills a record from the events of its stream.
pub(super) struct Reading<'a> {
    record: &'a mut RequestRecord,
    progress: &'a Progress,
    sent: Instant,
    api: Api,
    /// Chats of the older clients: every event moves the end of the request.
    all_events_count: bool,
    /// Time of the last event that counts, in seconds since sending.
    last: f64,
    has_token: bool,
    /// Whether the stream said that it is complete.
    complete: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        record: &'a mut RequestRecord,
        sent: Instant,
        options: &RequestOptions,
        progress: &'a Progress,
    ) -> Self {
        let all_events_count = options.api == Api::Chat && options.compat < Compat::V0_32;
        Self {
            record,
            progress,
            sent,
            api: options.api,
            all_events_count,
            last: 0.0,
            has_token: false,
            complete: false,
        }
    }

    /// Takes the data of one event.
    pub(super) fn event(&mut self, data: &str) -> Result<(), Failure> {
        let now = self.sent.elapsed().as_secs_f64();
        if data == "[DONE]" {
            self.complete = true;
            return Ok(());
        }
        if data.is_empty() {
            return Ok(());
        }
        match self.api {
            Api::Completions | Api::Chat => self.chunk(parse(data)?, now),
            Api::Responses => self.response_event(parse(data)?, now, data),
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, now: f64) -> Result<(), Failure> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(Failure::new(FailureKind::ServerError, message_of(&error)));
        }
        if let Some(usage) = chunk.usage {
            self.usage(&usage);
        }
        if let Some(choice) = chunk.choices.and_then(|choices| choices.into_iter().next()) {
            let text = match self.api {
                Api::Chat => choice.delta.and_then(|delta| delta.content),
                _ => choice.text,
            };
            self.token(now, text.as_deref());
            if let Some(reason) = choice.finish_reason {
                self.record.finish_reason = Some(reason.into_owned());
                self.complete = true;
            }
        } else if self.all_events_count {
            self.last = now;
        }
        Ok(())
    }

    fn response_event(
        &mut self,
        event: ResponseEvent<'_>,
        now: f64,
        data: &str,
    ) -> Result<(), Failure> {
        match event.kind.as_deref() {
            Some("response.output_text.delta") => self.token(now, event.delta.as_deref()),
            // Reasoning is generated, too, but is no text of the answer.
            Some("response.reasoning_text.delta") => self.token(now, None),
            Some("response.completed" | "response.incomplete") => {
                self.complete = true;
                if let Some(end) = event.response {
                    self.record.finish_reason = end.status;
                    if let Some(usage) = end.usage {
                        self.usage(&usage);
                    }
                }
            }
            Some("error" | "response.failed") => {
                let error = event.error.or(event.response.and_then(|end| end.error));
                let message = error.map_or_else(|| extract(data), |error| message_of(&error));
                return Err(Failure::new(FailureKind::ServerError, message));
            }
            _ => {
                if let Some(error) = event.error.filter(|error| !error.is_null()) {
                    return Err(Failure::new(FailureKind::ServerError, message_of(&error)));
                }
            }
        }
        Ok(())
    }

    fn token(&mut self, now: f64, text: Option<&str>) {
        if self.has_token {
            self.record.itl.push(now - self.last);
        } else {
            self.has_token = true;
            self.record.ttft = now;
        }
        self.last = now;
        self.record.generated_text.push_str(text.unwrap_or_default());
        self.progress.count_token();
    }

    fn usage(&mut self, usage: &Usage) {
        let record = &mut *self.record;
        if let Some(tokens) = usage.completion_tokens {
            record.output_tokens = tokens;
            record.output_tokens_from_usage = tokens > 0;
        }
        record.server_prompt_tokens = usage.prompt_tokens.or(record.server_prompt_tokens);
        let details = usage.prompt_tokens_details.as_ref();
        let cached = details.and_then(|details| details.cached_tokens);
        record.cached_prompt_tokens = cached.or(record.cached_prompt_tokens);
    }

    /// Closes the record.
    pub(super) fn finish(self, ended: Result<(), Failure>) {
        self.record.latency = self.last;
        let failure = match ended {
            Err(failure) => Some(failure),
            Ok(()) if !self.has_token => {
                Some(Failure::new(FailureKind::NoTokens, "the stream ended without a token"))
            }
            Ok(()) if !self.complete => {
                let message = "the stream ended without saying that the answer is complete";
                Some(Failure::new(FailureKind::Disconnected, message))
            }
            Ok(()) => None,
        };
        self.record.failure = failure;
    }
}

fn parse<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| {
        let message = format!("an event is no JSON of the API ({error}): {}", extract(data));
        Failure::new(FailureKind::Malformed, message)
    })
}

/// An answer with an error status.
pub(super) fn refusal(status: StatusCode, body: &str) -> Failure {
    let said = match serde_json::from_str::<Value>(body) {
        Ok(value) => message_of(value.get("error").unwrap_or(&value)),
        Err(_) => extract(body),
    };
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let kind = if status.is_client_error() { FailureKind::Refused } else { FailureKind::Status };
    Failure::new(kind, format!("status {status}{said}"))
}

/// The words in an error object.
fn message_of(error: &Value) -> String {
    let message = error.get("message").or(error.get("detail")).unwrap_or(error);
    extract(&message.as_str().map_or_else(|| message.to_string(), str::to_owned))
}

/// The beginning of a text.
pub(super) fn extract(text: &str) -> String {
    let mut characters = text.trim().chars();
    let mut short: String = characters.by_ref().take(EXTRACT).collect();
    if characters.next().is_some() {
        short.push_str(" ...");
    }
    short
}
