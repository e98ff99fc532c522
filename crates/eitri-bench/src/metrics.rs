//! Metrics by vLLM's definitions, from the records of a run.

use crate::{
    Compat,
    outcome::{MetricKind, Metrics, RequestRecord, RunSettings},
    statistics::summary,
};

/// Milliseconds per second.
const MILLI: f64 = 1000.0;
/// More seconds than a run has; what claims more is not counted second by second.
const MAX_SECONDS: f64 = 1e7;

/// Times of all completed requests, in seconds.
#[derive(Default)]
struct Times {
    ttft: Vec<f64>,
    /// Of requests with more than one token.
    tpot: Vec<f64>,
    itl: Vec<f64>,
    e2el: Vec<f64>,
    queue: Vec<f64>,
    e2el_with_queue: Vec<f64>,
}

impl Metrics {
    /// Computes all metrics. `duration` is in seconds.
    pub fn new(records: &[RequestRecord], duration: f64, settings: &RunSettings) -> Self {
        let completed: Vec<&RequestRecord> =
            records.iter().filter(|record| record.success()).collect();
        let mut times = Times::default();
        for record in &completed {
            times.add(record);
        }
        let input = |record: &&RequestRecord| counted_prompt_tokens(record, settings.compat);
        let total_input_tokens: usize = completed.iter().map(input).sum();
        let total_output_tokens: usize = completed.iter().map(|record| record.output_tokens).sum();
        let cached = completed.iter().map(|record| record.cached_prompt_tokens);
        let per_second = |count: usize| count as f64 / duration;
        let (max_output_tokens_per_s, max_concurrent_requests) = peaks(&completed);
        let summary = |seconds: &[f64]| summary(seconds, &settings.percentiles);
        Self {
            completed: completed.len(),
            failed: records.len() - completed.len(),
            total_input_tokens,
            total_output_tokens,
            cached_prompt_tokens: cached.sum(),
            request_throughput: per_second(completed.len()),
            request_goodput: (!settings.goodput.is_empty())
                .then(|| per_second(good(&completed, &settings.goodput))),
            output_throughput: per_second(total_output_tokens),
            total_token_throughput: per_second(total_input_tokens + total_output_tokens),
            max_output_tokens_per_s,
            max_concurrent_requests,
            ttft: summary(&times.ttft),
            tpot: summary(&times.tpot),
            itl: summary(&times.itl),
            e2el: summary(&times.e2el),
            queue: summary(&times.queue),
            e2el_with_queue: summary(&times.e2el_with_queue),
        }
    }
}

impl Times {
    fn add(&mut self, record: &RequestRecord) {
        self.ttft.push(record.ttft);
        self.tpot.extend(record.tpot());
        self.itl.extend_from_slice(&record.itl);
        self.e2el.push(record.latency);
        self.queue.push(record.queue_time());
        self.e2el_with_queue.push(record.latency + record.queue_time());
    }
}

/// The newer client believes the server's number, where it has one.
pub(crate) fn counted_prompt_tokens(record: &RequestRecord, compat: Compat) -> usize {
    match record.server_prompt_tokens {
        Some(tokens) if compat >= Compat::V0_32 => tokens,
        _ => record.prompt_tokens,
    }
}

/// How many requests met every service level. The time per token of an answer of one token is 0.
fn good(completed: &[&RequestRecord], levels: &[(MetricKind, f64)]) -> usize {
    let meets = |record: &&&RequestRecord| {
        levels.iter().all(|&(kind, milliseconds)| {
            let value = match kind {
                MetricKind::Ttft => record.ttft,
                MetricKind::Tpot => record.tpot().unwrap_or(0.0),
                _ => record.latency,
            };
            milliseconds / MILLI >= value
        })
    };
    completed.iter().filter(meets).count()
}

/// Most token events and most requests within one second since the first start.
fn peaks(completed: &[&RequestRecord]) -> (f64, usize) {
    let starts = completed.iter().map(|record| record.start);
    let ends = completed.iter().map(|record| record.start + record.latency);
    let first = starts.fold(f64::INFINITY, f64::min);
    let last = ends.fold(f64::NEG_INFINITY, f64::max);
    let seconds = (last - first).ceil();
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return (0.0, 0);
    }
    let mut tokens = vec![0_usize; seconds as usize + 1];
    let mut requests = tokens.clone();
    for record in completed {
        for time in record.token_times() {
            if let Some(count) = tokens.get_mut((time - first) as usize) {
                *count += 1;
            }
        }
        let end = record.start + record.latency - first;
        for count in &mut requests[(record.start - first) as usize..=end as usize] {
            *count += 1;
        }
    }
    let most = |counts: &[usize]| counts.iter().copied().max().unwrap_or(0);
    (most(&tokens) as f64, most(&requests))
}
