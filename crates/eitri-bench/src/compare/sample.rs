//! What is known of the requests of a run, from either kind of result file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Metric;
use crate::{
    outcome::BenchOutcome,
    statistics::{mean, percentile},
};

/// A result file that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not JSON.
    #[error("{}: not JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it is not.
        source: serde_json::Error,
    },
    /// It is neither a result of `vllm bench serve` nor one of ours.
    #[error(
        "{}: run {run} is no result of a benchmark: {message}; expected a file of --save-result or of \
         `bench reproduce`",
        path.display()
    )]
    NoResult {
        /// The file.
        path: PathBuf,
        /// Which of its objects, from 1.
        run: usize,
        /// What is missing.
        message: String,
    },
    /// It holds nothing.
    #[error("{}: holds no result", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Runs under the same settings, of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What they are called in tables.
    pub name: String,
    /// At least one.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Seconds.
    pub duration: f64,
    /// Generated tokens.
    pub output_tokens: usize,
    /// Requests that were answered; empty where a file holds summaries alone.
    pub requests: Vec<MeasuredRequest>,
}

/// One request, times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredRequest {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// Generated tokens.
    pub output_tokens: usize,
    /// To the first token.
    pub ttft: f64,
    /// Between token events.
    pub gaps: Vec<f64>,
}

impl MeasuredRequest {
    fn end(&self) -> f64 {
        self.ttft + self.gaps.iter().sum::<f64>()
    }

    fn tpot(&self) -> Option<f64> {
        (self.output_tokens > 1)
            .then(|| self.gaps.iter().sum::<f64>() / (self.output_tokens - 1) as f64)
    }
}

/// A file of `vllm bench serve --save-result`, the lists only with `--save-detailed`.
#[derive(Deserialize)]
struct VllmResult {
    duration: f64,
    total_output_tokens: usize,
    #[serde(default)]
    input_lens: Vec<usize>,
    #[serde(default)]
    output_lens: Vec<usize>,
    #[serde(default)]
    ttfts: Vec<f64>,
    #[serde(default)]
    itls: Vec<Vec<f64>>,
    #[serde(default)]
    errors: Vec<String>,
}

impl Run {
    /// Of a run of our own client.
    pub fn of(outcome: &BenchOutcome) -> Self {
        let completed = outcome.requests.iter().filter(|request| request.success());
        Self {
            duration: outcome.duration,
            output_tokens: outcome.metrics.total_output_tokens,
            requests: completed
                .map(|request| MeasuredRequest {
                    input_tokens: request.prompt_tokens,
                    output_tokens: request.output_tokens,
                    ttft: request.ttft,
                    gaps: request.itl.clone(),
                })
                .collect(),
        }
    }

    fn parse(value: Value) -> Result<Self, String> {
        if value.get("settings").is_some() {
            let outcome = serde_json::from_value::<BenchOutcome>(value);
            return outcome.map(|outcome| Self::of(&outcome)).map_err(|error| error.to_string());
        }
        let result: VllmResult =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        let lists = [result.input_lens.len(), result.output_lens.len(), result.itls.len()];
        if lists.iter().any(|&length| length != result.ttfts.len()) {
            return Err("input_lens, output_lens, ttfts and itls differ in length".to_owned());
        }
        let failed = |index: usize| result.errors.get(index).is_some_and(|error| !error.is_empty());
        let requests = (0..result.ttfts.len())
            .filter(|&index| !failed(index))
            .map(|index| MeasuredRequest {
                input_tokens: result.input_lens[index],
                output_tokens: result.output_lens[index],
                ttft: result.ttfts[index],
                gaps: result.itls[index].clone(),
            })
            .collect();
        Ok(Self { duration: result.duration, output_tokens: result.total_output_tokens, requests })
    }
}

impl Sample {
    /// Reads a file with one result or, as `--append-result` makes it, one per line.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, CompareError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CompareError::Read { path: path.to_owned(), source })?;
        let mut runs = Vec::new();
        for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            let value =
                value.map_err(|source| CompareError::Json { path: path.to_owned(), source })?;
            let run = runs.len() + 1;
            runs.push(Run::parse(value).map_err(|message| CompareError::NoResult {
                path: path.to_owned(),
                run,
                message,
            })?);
        }
        if runs.is_empty() {
            return Err(CompareError::Empty { path: path.to_owned() });
        }
        Ok(Self { name: path.display().to_string(), runs })
    }

    /// All requests of all runs.
    pub(super) fn requests(&self) -> Vec<&MeasuredRequest> {
        self.runs.iter().flat_map(|run| &run.requests).collect()
    }

    /// Whether both have requests of the same sizes in the same order.
    pub(super) fn has_the_requests_of(&self, other: &Self) -> bool {
        let sizes = |sample: &Self| -> Vec<usize> {
            sample.requests().iter().map(|request| request.input_tokens).collect()
        };
        !sizes(self).is_empty() && sizes(self) == sizes(other)
    }

    /// The metric over all runs; none where the file does not tell.
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::OutputThroughput => throughput(self.runs.iter()),
            _ => of_requests(metric, &self.requests()),
        }
    }
}

/// Generated tokens per second over runs.
pub(super) fn throughput<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<f64> {
    let (tokens, seconds) = runs.fold((0, 0.0), |(tokens, seconds), run| {
        (tokens + run.output_tokens, seconds + run.duration)
    });
    (seconds > 0.0 && tokens > 0).then(|| tokens as f64 / seconds)
}

/// A metric of single requests, in milliseconds.
pub(super) fn of_requests(metric: Metric, requests: &[&MeasuredRequest]) -> Option<f64> {
    let values: Vec<f64> = match metric {
        Metric::OutputThroughput => return None,
        Metric::MeanTtft => requests.iter().map(|request| request.ttft).collect(),
        Metric::MeanTpot => requests.iter().filter_map(|request| request.tpot()).collect(),
        Metric::MeanE2el => requests.iter().map(|request| request.end()).collect(),
        Metric::P99Itl => {
            let mut gaps: Vec<f64> =
                requests.iter().flat_map(|request| request.gaps.iter().copied()).collect();
            if gaps.is_empty() {
                return None;
            }
            gaps.sort_unstable_by(f64::total_cmp);
            return Some(percentile(&gaps, 99.0) * 1e3);
        }
    };
    (!values.is_empty()).then(|| mean(&values) * 1e3)
}
