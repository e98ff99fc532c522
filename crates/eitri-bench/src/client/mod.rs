//! Requests to a server and what comes back.

mod answer;
mod body;
mod http;
mod sse;
#[cfg(feature = "https")]
mod tls;
#[cfg(not(feature = "https"))]
#[path = "no_tls.rs"]
mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

use crate::{
    BenchError, Compat,
    dataset::Sample,
    outcome::{Failure, FailureKind, RequestRecord},
    progress::Progress,
};
use answer::Reading;
pub(crate) use http::{Http, Page};
use sse::EventParser;

/// Which API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/responses`.
    Responses,
}

/// Whether the certificate of an `https` server has to be one that the system trusts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Certificates {
    /// It has.
    #[default]
    Checked,
    /// Any will do: `--insecure`.
    Unchecked,
}

/// How long is waited before a request counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// Without a byte from the server, before and after the headers.
    pub silence: Duration,
    /// For the whole request.
    pub total: Duration,
}

impl Default for Limits {
    /// The total is that of vLLM's client, which knows no other limit.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            silence: Duration::from_mins(10),
            total: Duration::from_hours(6),
        }
    }
}

/// What all requests of a run have in common.
#[derive(Debug, Clone)]
pub struct RequestOptions {
    /// The client that is reproduced.
    pub compat: Compat,
    /// Which API is spoken.
    pub api: Api,
    /// Path of the API below the base address, as `/v1/completions`.
    pub endpoint: String,
    /// Name of the model in requests.
    pub model: String,
    /// `--logprobs`.
    pub logprobs: Option<u32>,
    /// `--ignore-eos`.
    pub ignore_eos: bool,
    /// Sampling parameters and `--extra-body`; they go over all other fields.
    pub extra_body: Map<String, Value>,
    /// `--header`; they go over all other headers but the request's id.
    pub headers: Vec<(String, String)>,
    /// `OPENAI_API_KEY`.
    pub api_key: Option<String>,
    /// `--request-id-prefix`: sent with the number of the request as `x-request-id`.
    pub request_id_prefix: Option<String>,
}

/// Sends requests and records their answers.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http,
    options: RequestOptions,
    headers: HeaderMap,
    progress: Arc<Progress>,
}

/// When a request was due and by which clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Start of the run.
    pub(crate) origin: Instant,
    /// In seconds since then.
    pub(crate) due: f64,
}

impl Client {
    pub(crate) fn new(
        http: Http,
        options: RequestOptions,
        progress: Arc<Progress>,
    ) -> Result<Self, BenchError> {
        let headers = headers(&options)?;
        Ok(Self { http, options, headers, progress })
    }

    /// Where requests go.
    pub(crate) fn url(&self) -> String {
        self.http.url(&self.options.endpoint)
    }

    /// Fetches a page about the server; none where it has no such page.
    pub(crate) async fn get(&self, path: &str, limit: Duration) -> Option<Page> {
        self.http.get(path, &self.headers, limit).await.ok()
    }

    /// Sends a prompt and reads the whole answer. Whatever goes wrong is in the record, as is what
    /// had come by then when `stopped` ends first.
    pub(crate) async fn ask(
        &self,
        sample: &Sample,
        index: usize,
        turn: Turn,
        stopped: impl Future<Output = ()>,
    ) -> RequestRecord {
        let sent = Instant::now();
        let mut record = RequestRecord {
            index,
            due: turn.due,
            start: sent.duration_since(turn.origin).as_secs_f64(),
            prompt_tokens: sample.prompt_tokens,
            requested_output_tokens: sample.output_tokens,
            ..RequestRecord::default()
        };
        let mut reading = Reading::new(&mut record, sent, &self.options, &self.progress);
        let exchange = tokio::time::timeout(
            self.http.limits().total,
            self.exchange(sample, index, &mut reading),
        );
        let ended = tokio::select! {
            ended = exchange => ended.unwrap_or_else(|_| {
                let limit = self.http.limits().total.as_secs_f64();
                Err(Failure::new(FailureKind::Timeout, format!("not answered within {limit} s")))
            }),
            () = stopped => {
                Err(Failure::new(FailureKind::Interrupted, "the run was stopped"))
            }
        };
        reading.finish(ended);
        record
    }

    async fn exchange(
        &self,
        sample: &Sample,
        index: usize,
        reading: &mut Reading<'_>,
    ) -> Result<(), Failure> {
        let mut exchange = self.http.send(self.request(sample, index)?).await?;
        let status = exchange.response.status();
        let content_type = exchange.response.headers().get(CONTENT_TYPE);
        let is_json =
            content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if status != StatusCode::OK {
            let text = exchange.text().await.unwrap_or_default();
            self.http.give_back(exchange);
            return Err(answer::refusal(status, &text));
        }
        if is_json {
            let text = exchange.text().await?;
            let message =
                format!("answered with one object instead of a stream: {}", answer::extract(&text));
            return Err(Failure::new(FailureKind::Malformed, message));
        }
        let mut events = EventParser::default();
        while let Some(frame) = self.http.frame(exchange.response.body_mut().frame()).await? {
            if let Ok(data) = frame.into_data() {
                events.push(&data, |data| reading.event(data))?;
            }
        }
        // Some servers leave out the blank line after the last event.
        events.end(|data| reading.event(data))?;
        self.http.give_back(exchange);
        Ok(())
    }

    fn request(
        &self,
        sample: &Sample,
        index: usize,
    ) -> Result<Request<http_body_util::Full<Bytes>>, Failure> {
        let invalid = |message: String| Failure::new(FailureKind::Malformed, message);
        let body = body::request_body(sample, &self.options);
        let mut request = self
            .http
            .request("POST", &self.options.endpoint, body.to_string().into())
            .map_err(|error| invalid(error.to_string()))?;
        request.headers_mut().extend(self.headers.clone());
        if let Some(prefix) = &self.options.request_id_prefix {
            let id = HeaderValue::from_str(&format!("{prefix}{index}"))
                .map_err(|error| invalid(error.to_string()))?;
            request.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
        }
        Ok(request)
    }
}

fn headers(options: &RequestOptions) -> Result<HeaderMap, BenchError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // The older clients send this whether there is a key or not, and servers are used to it.
    let without_key = (options.compat < Compat::V0_32).then_some("None");
    if let Some(key) = options.api_key.as_deref().or(without_key) {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
            BenchError::flag("OPENAI_API_KEY", "has characters that no header can hold")
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &options.headers {
        let bad = |what: &str| BenchError::flag("--header", format!("{name}={value}: not {what}"));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| bad("the name of a header"))?;
        let value = HeaderValue::from_str(value).map_err(|_| bad("the value of a header"))?;
        headers.insert(name, value);
    }
    if let Some(prefix) = &options.request_id_prefix {
        HeaderValue::from_str(prefix).map_err(|_| {
            BenchError::flag("--request-id-prefix", format!("{prefix:?} is no text for a header"))
        })?;
    }
    Ok(headers)
}
