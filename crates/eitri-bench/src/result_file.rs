//! The file that `--save-result` writes: vLLM's keys in vLLM's order, and its name.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::{
    BenchError, Compat,
    metrics::counted_prompt_tokens,
    outcome::{BenchOutcome, RampUpStrategy, RequestRecord, RunSettings},
    python_text,
    result_block::percentile_word,
};

/// Where a result goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultFile {
    /// `--result-dir`, made where it is not there.
    pub dir: Option<PathBuf>,
    /// `--result-filename`; none for a name made of the settings.
    pub name: Option<PathBuf>,
    /// `--append-result`: what the file holds stays, each result has a line of its own.
    pub append: bool,
    /// `--save-detailed`: with lengths, times, texts and errors of every request.
    pub detailed: bool,
}

impl ResultFile {
    /// Writes the result and says where.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, outcome: &BenchOutcome) -> Result<PathBuf, BenchError> {
        let name = self.name.clone().unwrap_or_else(|| file_name(&outcome.settings).into());
        let path = self.dir.as_ref().map_or(name.clone(), |dir| dir.join(&name));
        let write = || -> std::io::Result<()> {
            if let Some(dir) = &self.dir {
                fs::create_dir_all(dir)?;
            }
            let mut file = self.open(&path)?;
            let mut text = python_text::json(&outcome.result_json(self.detailed));
            if self.append && file.metadata()?.len() > 0 {
                text.insert(0, '\n');
            }
            file.write_all(text.as_bytes())
        };
        write().map_err(|source| BenchError::File { path: path.clone(), source })?;
        Ok(path)
    }

    fn open(&self, path: &Path) -> std::io::Result<File> {
        if self.append {
            return OpenOptions::new().append(true).create(true).open(path);
        }
        File::create(path)
    }
}

/// `openai-infqps-concurrency8-Qwen3-8B-20261124-093000.json`
fn file_name(settings: &RunSettings) -> String {
    let label = settings.label.as_ref().unwrap_or(match settings.compat {
        Compat::V0_10 => &settings.endpoint_type,
        _ => &settings.backend,
    });
    let limit = settings.max_concurrency;
    let limit = limit.map_or(String::new(), |limit| format!("-concurrency{limit}"));
    let model = settings.model_id.rsplit('/').next().unwrap_or_default();
    let rate = if let Some(ramp) = settings.ramp_up {
        let (strategy, start, end) = (ramp.strategy.name(), ramp.start_rps, ramp.end_rps);
        format!("ramp-up-{strategy}-{start}qps-{end}qps")
    } else {
        let rate = settings.request_rate.unwrap_or(f64::INFINITY);
        format!("{}qps", python_text::float(rate))
    };
    format!("{label}-{rate}{limit}-{model}-{}.json", settings.date)
}

impl RampUpStrategy {
    /// The value of `--ramp-up-strategy`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Exponential => "exponential",
        }
    }
}

impl BenchOutcome {
    /// The object in the result file of the client that is reproduced. `detailed` adds what belongs
    /// to single requests.
    pub fn result_json(&self, detailed: bool) -> Value {
        let mut fields = self.settings_json();
        self.metrics_json(&mut fields);
        self.requests_json(detailed, &mut fields);
        if self.settings.compat >= Compat::V0_11 {
            let metrics = &self.metrics;
            fields.insert(
                "max_output_tokens_per_s".to_owned(),
                json!(metrics.max_output_tokens_per_s),
            );
            let concurrent = json!(metrics.max_concurrent_requests);
            fields.insert("max_concurrent_requests".to_owned(), concurrent);
        }
        if self.settings.compat >= Compat::V0_32 {
            // Of audio requests, which there are none of.
            fields.insert("rtfx".to_owned(), json!(0.0));
        }
        if !self.rate_changes.is_empty() {
            fields.insert("rps_change_events".to_owned(), json!(self.rate_changes));
        }
        for kind in self.reported_metrics() {
            let (name, summary) = (kind.name(), self.metrics.summary(kind));
            fields.insert(format!("mean_{name}_ms"), json!(summary.mean));
            fields.insert(format!("median_{name}_ms"), json!(summary.median));
            fields.insert(format!("std_{name}_ms"), json!(summary.std));
            for &(percentile, value) in &summary.percentiles {
                fields.insert(format!("p{}_{name}_ms", percentile_word(percentile)), json!(value));
            }
        }
        Value::Object(fields)
    }

    fn settings_json(&self) -> Map<String, Value> {
        let settings = &self.settings;
        let mut fields = Map::new();
        let mut put = |key: &str, value: Value| {
            fields.insert(key.to_owned(), value);
        };
        put("date", json!(settings.date));
        if settings.compat >= Compat::V0_11 {
            put("endpoint_type", json!(settings.backend));
            put("backend", json!(settings.backend));
        } else {
            put("endpoint_type", json!(settings.endpoint_type));
        }
        put("label", json!(settings.label));
        put("model_id", json!(settings.model_id));
        put("tokenizer_id", json!(settings.tokenizer_id));
        put("num_prompts", json!(settings.num_prompts));
        for (key, value) in &settings.metadata {
            put(key, value.clone());
        }
        put("request_rate", settings.request_rate.map_or(json!("inf"), |rate| json!(rate)));
        put("burstiness", json!(settings.burstiness));
        put("max_concurrency", json!(settings.max_concurrency));
        if let Some(ramp) = &settings.ramp_up {
            put("ramp_up_strategy", json!(ramp.strategy.name()));
            put("ramp_up_start_rps", json!(ramp.start_rps));
            put("ramp_up_end_rps", json!(ramp.end_rps));
        }
        fields
    }

    fn metrics_json(&self, fields: &mut Map<String, Value>) {
        let metrics = &self.metrics;
        let mut put = |key: &str, value: Value| {
            fields.insert(key.to_owned(), value);
        };
        put("duration", json!(self.duration));
        put("completed", json!(metrics.completed));
        if self.settings.compat >= Compat::V0_32 {
            put("failed", json!(metrics.failed));
        }
        put("total_input_tokens", json!(metrics.total_input_tokens));
        put("total_output_tokens", json!(metrics.total_output_tokens));
        put("request_throughput", json!(metrics.request_throughput));
        put("request_goodput", json!(metrics.request_goodput));
        put("output_throughput", json!(metrics.output_throughput));
        put("total_token_throughput", json!(metrics.total_token_throughput));
    }

    fn requests_json(&self, detailed: bool, fields: &mut Map<String, Value>) {
        let compat = self.settings.compat;
        let mut put = |key: &str, of: &dyn Fn(&RequestRecord) -> Value| {
            fields.insert(key.to_owned(), self.requests.iter().map(of).collect());
        };
        if detailed {
            put("input_lens", &|record| json!(counted_prompt_tokens(record, compat)));
            put("output_lens", &|record| {
                json!(if record.success() { record.output_tokens } else { 0 })
            });
            put("ttfts", &|record| json!(record.ttft));
            put("itls", &|record| json!(record.itl));
        }
        if compat >= Compat::V0_32 {
            // The newer client forgets to leave these out.
            put("latencies", &|record| json!(record.latency));
            if detailed {
                put("start_times", &|record| json!(record.start));
            }
            put("queue_times", &|record| json!(record.queue_time()));
        }
        if detailed {
            put("generated_texts", &|record| json!(record.generated_text));
            put("errors", &|record| {
                json!(record.failure.as_ref().map_or("", |failure| &failure.message))
            });
        }
    }
}
