//! Prometheus metrics under vLLM's names, so that dashboards made for it work unchanged.

use std::{borrow::Cow, fmt, fmt::Write as _, time::Duration};

use eitri_engine::{EngineStats, RequestTiming};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode_registry},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};
use tokio::sync::watch;

use crate::ServedModel;

const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];

type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// How a sequence ended, as far as metrics tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// `stop`, `length`, `abort` or `error`.
    pub(crate) reason: &'static str,
    /// Since the request arrived.
    pub(crate) elapsed: Duration,
    /// From the first to the last token.
    pub(crate) decode: Duration,
    pub(crate) prompt_tokens: usize,
    pub(crate) generated: usize,
    /// The engine's own figures, unless the server ended the sequence.
    pub(crate) timing: Option<RequestTiming>,
}

/// What is counted. Histograms and endings come from requests, the rest from the engine's state at
/// the time of a scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    finished: Family<Labels, Counter>,
    first_token: Histogram,
    inter_token: Histogram,
    time_per_token: Histogram,
    request: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    prompt_tokens: Histogram,
    generated_tokens: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
}

/// 1, 2, 5, 10, 20, 50, ... up to `max`.
fn counts_up_to(max: usize) -> Vec<f64> {
    let decades = (0..).map(|exponent| 10_usize.saturating_pow(exponent));
    let series = decades.flat_map(|unit| [1, 2, 5].map(|digit| unit.saturating_mul(digit)));
    series.take_while(|&count| count <= max).map(|count| count as f64).collect()
}

fn finished_label(reason: &'static str) -> Labels {
    vec![("finished_reason", Cow::Borrowed(reason))]
}

impl Metrics {
    pub(crate) fn new(model: &ServedModel, stats: watch::Receiver<EngineStats>) -> Self {
        let labels = [
            (Cow::Borrowed("model_name"), Cow::Owned(model.name.clone())),
            (Cow::Borrowed("engine"), Cow::Borrowed("0")),
        ];
        let mut registry = Registry::with_labels(labels.into_iter());
        let mut histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::new(buckets.iter().copied());
            registry.register(format!("vllm:{name}"), help, histogram.clone());
            histogram
        };
        let tokens = counts_up_to(model.max_model_len);
        let first_token = histogram(
            "time_to_first_token_seconds",
            "Time to first token in seconds",
            FIRST_TOKEN_SECONDS,
        );
        let inter_token = histogram(
            "inter_token_latency_seconds",
            "Time between two tokens in seconds",
            TOKEN_SECONDS,
        );
        let time_per_token = histogram(
            "request_time_per_output_token_seconds",
            "Mean time per token after the first in seconds",
            TOKEN_SECONDS,
        );
        let mut seconds = |name: &str, help: &str| histogram(name, help, REQUEST_SECONDS);
        let request = seconds("e2e_request_latency_seconds", "Time of the whole request");
        let queue = seconds("request_queue_time_seconds", "Time before the first step");
        let inference = seconds("request_inference_time_seconds", "Time in prefill and decode");
        let prefill = seconds("request_prefill_time_seconds", "Time to compute the prompt");
        let decode = seconds("request_decode_time_seconds", "Time after the first token");
        let prompt_tokens = histogram("request_prompt_tokens", "Prompt tokens", &tokens);
        let generated_tokens = histogram("request_generation_tokens", "Generated tokens", &tokens);
        let params_n = histogram("request_params_n", "Choices asked for", CHOICES);
        let params_max_tokens = histogram("request_params_max_tokens", "Tokens allowed", &tokens);

        let finished = Family::<Labels, Counter>::default();
        registry.register("vllm:request_success", "Finished sequences", finished.clone());
        for reason in ["stop", "length", "abort", "error"] {
            drop(finished.get_or_create(&finished_label(reason)));
        }
        let cache_config = Family::<Labels, Gauge>::default();
        registry.register(
            "vllm:cache_config_info",
            "Configuration of KV memory",
            cache_config.clone(),
        );
        let blocks = stats.borrow().total_blocks.to_string();
        let labels = vec![
            ("block_size", Cow::Owned(model.kv_block_size.to_string())),
            ("num_gpu_blocks", Cow::Owned(blocks)),
        ];
        cache_config.get_or_create(&labels).set(1);
        registry.register_collector(Box::new(EngineCollector(stats)));
        Self {
            registry,
            finished,
            first_token,
            inter_token,
            time_per_token,
            request,
            queue,
            inference,
            prefill,
            decode,
            prompt_tokens,
            generated_tokens,
            params_n,
            params_max_tokens,
        }
    }

    /// A request was accepted.
    pub(crate) fn accepted(&self, n: u32, max_tokens: u32) {
        self.params_n.observe(f64::from(n));
        self.params_max_tokens.observe(f64::from(max_tokens));
    }

    /// The first token of a sequence came, this long after the request.
    pub(crate) fn first_token(&self, elapsed: Duration) {
        self.first_token.observe(elapsed.as_secs_f64());
    }

    /// A further token came, this long after the one before.
    pub(crate) fn further_token(&self, gap: Duration) {
        self.inter_token.observe(gap.as_secs_f64());
    }

    /// A sequence ended.
    pub(crate) fn finished(&self, ending: &Ending) {
        self.finished.get_or_create(&finished_label(ending.reason)).inc();
        self.request.observe(ending.elapsed.as_secs_f64());
        self.prompt_tokens.observe(ending.prompt_tokens as f64);
        self.generated_tokens.observe(ending.generated as f64);
        if ending.generated > 1 {
            let gaps = (ending.generated - 1) as f64;
            self.time_per_token.observe(ending.decode.as_secs_f64() / gaps);
        }
        if let Some(timing) = ending.timing {
            self.queue.observe(timing.queued.as_secs_f64());
            self.prefill.observe(timing.prefill.as_secs_f64());
            self.decode.observe(timing.decode.as_secs_f64());
            self.inference.observe((timing.prefill + timing.decode).as_secs_f64());
        }
    }

    /// Prometheus' text format 0.0.4.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        plain_counters(&text)
    }
}

/// `OpenMetrics` declares a counter without the `_total` of its samples, the older text format wants
/// the same name in both.
fn plain_counters(open_metrics: &str) -> Result<String, fmt::Error> {
    let is_counter = |name: &str| {
        let declaration = format!("# TYPE {name} counter\n");
        open_metrics.contains(&declaration)
    };
    let mut text = String::with_capacity(open_metrics.len() + 256);
    for line in open_metrics.lines() {
        let declared = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP "));
        match declared.and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) if is_counter(name) => {
                writeln!(text, "{} {name}_total {rest}", &line[..6])?;
            }
            _ => writeln!(text, "{line}")?,
        }
    }
    Ok(text)
}

/// Writes the engine's state.
#[derive(Debug)]
struct EngineCollector(watch::Receiver<EngineStats>);

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let stats = *self.0.borrow();
        let used = stats.total_blocks.saturating_sub(stats.free_blocks) as f64;
        let usage = used / stats.total_blocks.max(1) as f64;
        let gauges = [
            ("vllm:num_requests_running", "Sequences that are computed", stats.running as f64),
            ("vllm:num_requests_waiting", "Sequences that wait", stats.waiting as f64),
            ("vllm:kv_cache_usage_perc", "Share of KV memory in use, 1 is all", usage),
            ("vllm:gpu_cache_usage_perc", "The same under its older name", usage),
            (
                "eitri:kv_blocks_cached",
                "Free blocks of which the content can be reused",
                stats.cached_blocks as f64,
            ),
            (
                "eitri:last_step_seconds",
                "Time of the last engine step",
                stats.last_step.as_secs_f64(),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("vllm:prompt_tokens", "Prompt tokens", stats.prompt_tokens),
            ("vllm:generation_tokens", "Generated tokens", stats.generated_tokens),
            ("vllm:num_preemptions", "Preempted sequences", stats.preemptions),
            ("vllm:prefix_cache_queries", "Tokens looked up", stats.prefix_query_tokens),
            ("vllm:prefix_cache_hits", "Tokens found", stats.prefix_hit_tokens),
            ("eitri:steps", "Engine steps", stats.steps),
            ("eitri:failed_steps", "Failed engine steps", stats.failed_steps),
            ("eitri:computed_tokens", "Tokens carried through the model", stats.computed_tokens),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}
