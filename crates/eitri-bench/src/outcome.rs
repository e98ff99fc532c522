//! What a run leaves behind: records, metrics and settings.
//!
//! Times of single requests are in seconds, those of summaries in milliseconds, as in vLLM's files.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Compat;

/// A finished or interrupted run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchOutcome {
    /// What was asked for.
    pub settings: RunSettings,
    /// What the server said of itself.
    pub server: ServerFacts,
    /// One record per request that was started, in the order of the prompts. The initial test
    /// request and the warm-up requests are not among them.
    pub requests: Vec<RequestRecord>,
    /// From the start of the first request to the end of the last one, in seconds.
    pub duration: f64,
    /// Computed from the records.
    pub metrics: Metrics,
    /// When the rate of a ramp-up reached the next whole number.
    #[serde(default)]
    pub rate_changes: Vec<RateChange>,
    /// Whether the run was stopped before all requests had ended; the records hold what was
    /// measured by then.
    pub interrupted: bool,
}

/// One request and what came back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Position of the prompt in the data set.
    pub index: usize,
    /// When the request was due to be sent, in seconds since the start of the run.
    pub due: f64,
    /// When it was sent, in seconds since the start of the run: later than `due` by the time that
    /// it waited for its turn under the limit on concurrency.
    pub start: f64,
    /// Tokens of the prompt, as the client counts them.
    pub prompt_tokens: usize,
    /// Tokens of the prompt by the server's usage record.
    pub server_prompt_tokens: Option<usize>,
    /// How many of them the server took from its prefix cache, by its usage record.
    pub cached_prompt_tokens: Option<usize>,
    /// Tokens that the request may generate.
    pub requested_output_tokens: usize,
    /// Generated tokens: by the server's usage record, else by tokenizing the text.
    pub output_tokens: usize,
    /// Whether `output_tokens` is the server's number.
    pub output_tokens_from_usage: bool,
    /// From sending to the first token event, in seconds. A token event is a chunk with a choice,
    /// whatever its text.
    pub ttft: f64,
    /// Gaps between successive token events, in seconds.
    pub itl: Vec<f64>,
    /// From sending to the last token event, in seconds; with the older clients and a chat, to the
    /// last event of any kind.
    pub latency: f64,
    /// Everything that was generated. U+FFFD stands for what was not UTF-8.
    pub generated_text: String,
    /// Why the server ended the answer (`stop`, `length`, ...), where it said so.
    pub finish_reason: Option<String>,
    /// Why the request counts as failed.
    pub failure: Option<Failure>,
}

impl RequestRecord {
    /// Whether it was answered completely.
    pub fn success(&self) -> bool {
        self.failure.is_none()
    }

    /// Times of the token events in seconds since the start of the run.
    pub fn token_times(&self) -> impl Iterator<Item = f64> + '_ {
        let first = (self.latency > 0.0).then_some(self.start + self.ttft);
        let gaps = if first.is_some() { self.itl.as_slice() } else { &[] };
        first.into_iter().chain(gaps.iter().scan(self.start + self.ttft, |time, gap| {
            *time += gap;
            Some(*time)
        }))
    }

    /// Time that it waited for its turn under the limit on concurrency, in seconds.
    pub fn queue_time(&self) -> f64 {
        self.start - self.due
    }

    /// Time per output token without the first, in seconds; none where only one was generated.
    pub fn tpot(&self) -> Option<f64> {
        (self.output_tokens > 1)
            .then(|| (self.latency - self.ttft) / (self.output_tokens - 1) as f64)
    }
}

/// A request that was not answered, or not completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// What happened, with the server's own words where it had any.
    pub message: String,
}

impl FailureKind {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Connect => "no connection",
            Self::Refused => "refused by the server",
            Self::Status => "error status",
            Self::Disconnected => "connection broken",
            Self::Timeout => "too slow",
            Self::Malformed => "not understood",
            Self::ServerError => "error within the stream",
            Self::NoTokens => "no token",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Failure {
    /// A failure with its message.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Kinds of failures, told apart in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection could be made.
    Connect,
    /// The server answered with a status from 400 to 499: it does not want this request.
    Refused,
    /// The server answered with another status that is not 200.
    Status,
    /// The connection broke before the answer was complete.
    Disconnected,
    /// Nothing arrived for too long, or the request took too long as a whole.
    Timeout,
    /// The stream held something that is no event of the API.
    Malformed,
    /// The server reported an error within the stream.
    ServerError,
    /// The stream ended properly but held no token.
    NoTokens,
    /// The run was stopped while the request was under way.
    Interrupted,
}

/// Metrics of a run, by vLLM's definitions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Requests that were answered.
    pub completed: usize,
    /// Requests that were not.
    pub failed: usize,
    /// Prompt tokens of the completed requests.
    pub total_input_tokens: usize,
    /// Generated tokens of the completed requests.
    pub total_output_tokens: usize,
    /// Prompt tokens of the completed requests that the server took from its prefix cache; none
    /// where not every completed request has the number.
    pub cached_prompt_tokens: Option<usize>,
    /// Completed requests per second.
    pub request_throughput: f64,
    /// Completed requests per second that met all service levels; none without service levels.
    pub request_goodput: Option<f64>,
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Prompt and generated tokens per second.
    pub total_token_throughput: f64,
    /// Most token events within one second, seconds counted from the first start.
    pub max_output_tokens_per_s: f64,
    /// Most requests that overlap the same second; can exceed the limit on concurrency.
    pub max_concurrent_requests: usize,
    /// Time to first token.
    pub ttft: Summary,
    /// Time per output token without the first, over requests with more than one token.
    pub tpot: Summary,
    /// Gaps between token events, all requests pooled.
    pub itl: Summary,
    /// From sending to the last token.
    pub e2el: Summary,
    /// Time that requests waited for their turn under the limit on concurrency.
    pub queue: Summary,
    /// Both together.
    pub e2el_with_queue: Summary,
}

/// A distribution of times, in milliseconds; zeros where there was nothing to measure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// The value in the middle.
    pub median: f64,
    /// Standard deviation of the population.
    pub std: f64,
    /// Pairs of a percentile (99 is P99) and its value, linearly interpolated, as asked for in
    /// [`RunSettings::percentiles`].
    pub percentiles: Vec<(f64, f64)>,
}

impl Summary {
    /// The value at `percentile`, where it was asked for.
    pub fn percentile(&self, percentile: f64) -> Option<f64> {
        let found =
            self.percentiles.iter().find(|(wanted, _)| wanted.total_cmp(&percentile).is_eq());
        found.map(|&(_, value)| value)
    }
}

/// Which of the measured times a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Time to first token.
    Ttft,
    /// Time per output token without the first.
    Tpot,
    /// Gap between token events.
    Itl,
    /// End-to-end latency.
    E2el,
    /// Time that a request waited for its turn under the limit on concurrency.
    #[serde(rename = "client_queue_time")]
    Queue,
    /// End-to-end latency with that wait.
    #[serde(rename = "e2el_including_client_queue")]
    E2elWithQueue,
}

impl MetricKind {
    /// All kinds, in the order in which they are printed.
    pub const ALL: [Self; 6] =
        [Self::Ttft, Self::Tpot, Self::Itl, Self::E2el, Self::Queue, Self::E2elWithQueue];

    /// The name in flags and keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::Itl => "itl",
            Self::E2el => "e2el",
            Self::Queue => "client_queue_time",
            Self::E2elWithQueue => "e2el_including_client_queue",
        }
    }
}

impl Metrics {
    /// The summary of one kind of time.
    pub fn summary(&self, kind: MetricKind) -> &Summary {
        match kind {
            MetricKind::Ttft => &self.ttft,
            MetricKind::Tpot => &self.tpot,
            MetricKind::Itl => &self.itl,
            MetricKind::E2el => &self.e2el,
            MetricKind::Queue => &self.queue,
            MetricKind::E2elWithQueue => &self.e2el_with_queue,
        }
    }
}

/// What a run was asked to do, as far as reports need it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSettings {
    /// The client that is reproduced.
    pub compat: Compat,
    /// `--backend`.
    pub backend: String,
    /// `--endpoint-type` of the older clients: which API is spoken.
    pub endpoint_type: String,
    /// Where the requests went.
    pub api_url: String,
    /// `--label`.
    pub label: Option<String>,
    /// Name of the model, `--model` or what the server lists first.
    pub model_id: String,
    /// The directory of the tokenizer.
    pub tokenizer_id: String,
    /// `--dataset-name`.
    pub dataset: String,
    /// `--seed`.
    pub seed: u64,
    /// Requests of the run.
    pub num_prompts: usize,
    /// Requests per second; none sends as fast as the limit on concurrency allows.
    pub request_rate: Option<f64>,
    /// Shape of the gamma distribution of gaps; 1 is a Poisson process.
    pub burstiness: f64,
    /// Most requests at once; none for no limit.
    pub max_concurrency: Option<usize>,
    /// A rate that changes over the run.
    pub ramp_up: Option<RampUp>,
    /// Metrics whose percentiles are reported.
    pub percentile_metrics: Vec<MetricKind>,
    /// Percentiles that are reported.
    pub percentiles: Vec<f64>,
    /// Service levels in milliseconds, by metric; empty for none.
    pub goodput: Vec<(MetricKind, f64)>,
    /// Whether end tokens were ignored.
    pub ignore_eos: bool,
    /// Local time of the result as `YYYYmmdd-HHMMSS`.
    pub date: String,
    /// `--metadata KEY=VALUE`, in order.
    pub metadata: Map<String, Value>,
}

/// How the rate of requests changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RampUp {
    /// How it gets from one to the other.
    pub strategy: RampUpStrategy,
    /// Requests per second at the start.
    pub start_rps: u32,
    /// Requests per second at the end.
    pub end_rps: u32,
}

/// Ways from one rate to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RampUpStrategy {
    /// By the same difference per request.
    Linear,
    /// By the same ratio per request.
    Exponential,
}

/// A moment of a ramp-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateChange {
    /// Requests per second from then on.
    pub rps: u32,
    /// Local time in ISO 8601.
    pub timestamp: String,
}

/// What the server said of itself, as far as it did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `GET /version`.
    pub version: Option<String>,
    /// The `Server` header.
    pub software: Option<String>,
    /// Names in `GET /v1/models`.
    pub models: Vec<String>,
    /// Longest context of the model by `GET /v1/models`.
    pub max_model_len: Option<usize>,
    /// Prompt tokens looked up in the prefix cache during the run, by `GET /metrics`.
    pub prefix_cache_queries: Option<f64>,
    /// Prompt tokens found there during the run, by `GET /metrics`.
    pub prefix_cache_hits: Option<f64>,
}
