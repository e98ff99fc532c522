//! The numbers of a result block.

use serde::{Deserialize, Serialize};

use crate::{
    outcome::{BenchOutcome, Summary},
    statistics::{mean, percentile},
};

/// Mean, median and 99th percentile, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Arithmetic mean.
    pub mean: f64,
    /// The value in the middle.
    pub median: f64,
    /// What 99 of 100 do not exceed.
    pub p99: f64,
}

impl Times {
    /// The same time three times.
    pub fn constant(milliseconds: f64) -> Self {
        Self { mean: milliseconds, median: milliseconds, p99: milliseconds }
    }

    /// Of times in milliseconds, in any order; zeros where there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            mean: mean(&values),
            median: percentile(&values, 50.0),
            p99: percentile(&values, 99.0),
        }
    }
}

/// Whether more than a twentieth of the gaps is shorter than a tenth of the time per token.
fn is_bunched(gaps: &[f64], tpot: f64) -> bool {
    gaps.iter().filter(|&&gap| gap < tpot / 10.0).count() * 20 > gaps.len()
}

/// What `vllm bench serve` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that were answered.
    pub completed: usize,
    /// Requests at once; none where there was no limit.
    pub max_concurrency: Option<usize>,
    /// Seconds.
    pub duration: f64,
    /// Tokens of prompts.
    pub total_input_tokens: usize,
    /// Generated tokens.
    pub total_output_tokens: usize,
    /// Requests per second.
    pub request_throughput: f64,
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Tokens of prompts and generated ones per second.
    pub total_token_throughput: f64,
    /// Time to first token.
    pub ttft: Times,
    /// Time per output token without the first.
    pub tpot: Times,
    /// Gaps between token events.
    pub itl: Times,
    /// Whether many events arrived together, which no step can make: the network or the client was
    /// behind. Not known of published figures.
    #[serde(default)]
    pub bunched: bool,
}

impl Figures {
    /// Those of a measured run. Its 99th percentiles are computed here, since a run reports the
    /// percentiles that it was asked for.
    pub fn of(outcome: &BenchOutcome) -> Self {
        let metrics = &outcome.metrics;
        let completed = || outcome.requests.iter().filter(|request| request.success());
        let times = |summary: &Summary, values: Vec<f64>| Times {
            mean: summary.mean,
            median: summary.median,
            p99: Times::of(values).p99,
        };
        let gaps: Vec<f64> =
            completed().flat_map(|request| request.itl.iter().map(|gap| gap * 1e3)).collect();
        Self {
            bunched: is_bunched(&gaps, metrics.tpot.mean),
            completed: metrics.completed,
            max_concurrency: outcome.settings.max_concurrency,
            duration: outcome.duration,
            total_input_tokens: metrics.total_input_tokens,
            total_output_tokens: metrics.total_output_tokens,
            request_throughput: metrics.request_throughput,
            output_throughput: metrics.output_throughput,
            total_token_throughput: metrics.total_token_throughput,
            ttft: times(&metrics.ttft, completed().map(|request| request.ttft * 1e3).collect()),
            tpot: times(
                &metrics.tpot,
                completed().filter_map(|request| Some(request.tpot()? * 1e3)).collect(),
            ),
            itl: times(&metrics.itl, gaps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bunches_are_told_from_waits() {
        // Steps of 30 ms with waits for prompts; the same tokens in pairs.
        let waits: Vec<f64> = (0..100).map(|i| if i % 10 == 0 { 300.0 } else { 30.0 }).collect();
        let pairs: Vec<f64> = (0..100).map(|i| if i % 2 == 0 { 60.0 } else { 0.01 }).collect();
        assert!(!is_bunched(&waits, mean(&waits)) && is_bunched(&pairs, mean(&pairs)));
        assert!(!is_bunched(&[], 0.0));
    }
}
