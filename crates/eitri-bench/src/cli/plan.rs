use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use eitri_text::Tokenizer;
use serde_json::{Map, Value, json};

use super::{Backend, DatasetName, ServeArgs, names};
use crate::{
    Api, Arrival, BenchError, Certificates, Compat, FirstModel, Limits, RequestOptions, ResultFile,
    RunOptions, ServerAddress, Traffic,
    dataset::{Dataset, Sample, Sampling, digest},
    draws::GlobalDraws,
    outcome::{MetricKind, RampUp, RunSettings},
};

/// A command line that was understood.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How requests are sent and what is reported.
    pub run: RunOptions,
    /// Where prompts come from.
    pub dataset: Dataset,
    /// When they are sent.
    pub traffic: Traffic,
    /// Where the result goes, if anywhere.
    pub result: Option<ResultFile>,
    /// Where the tokenizer is: a directory with `tokenizer.json`, or what the caller knows to read.
    pub tokenizer: PathBuf,
    oversample: bool,
    shuffle: bool,
    seed: u32,
}

/// Everything that is made before the first request is sent.
#[derive(Debug)]
pub struct Prepared {
    /// Makes and counts tokens.
    pub tokenizer: Arc<Tokenizer>,
    /// What is sent.
    pub samples: Vec<Sample>,
    /// When each sample is sent.
    pub arrivals: Vec<Arrival>,
}

impl ServeArgs {
    /// The server's address.
    pub fn server(&self) -> ServerAddress {
        let bracketed = self.host.contains(':') && !self.host.starts_with('[');
        let host = if bracketed { format!("[{}]", self.host) } else { self.host.clone() };
        let base_url = self.base_url.as_ref().map_or_else(
            || format!("http://{host}:{}", self.port),
            |url| url.trim_end_matches('/').to_owned(),
        );
        let certificates =
            if self.insecure { Certificates::Unchecked } else { Certificates::Checked };
        ServerAddress { base_url, headers: self.header.clone(), certificates }
    }

    /// Notes on flags that were given and change nothing.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.refused.notes();
        if self.save_detailed && !self.save_result && !self.append_result {
            notes.push("--save-detailed has no effect without --save-result".to_owned());
        }
        if self.compat >= Compat::V0_32 && self.temperature.is_none() {
            notes.push(
                "with vllm-0.32 the server chooses the temperature; --temperature 0 is greedy"
                    .to_owned(),
            );
        }
        notes
    }

    /// What the flags come to. `model` is the server's first, for runs without `--model`; `api_key`
    /// is that of the environment.
    ///
    /// # Errors
    /// Names the flag that has no meaning.
    pub fn plan(
        &self,
        model: Option<&FirstModel>,
        api_key: Option<String>,
    ) -> Result<Plan, BenchError> {
        self.refused.check()?;
        let traffic = self.traffic();
        traffic.check(self.compat)?;
        let dataset = self.data.dataset(self.compat)?;
        let settings = self.settings(&dataset, model)?;
        let tokenizer = PathBuf::from(&settings.tokenizer_id);
        let ServerAddress { base_url, certificates, .. } = self.server();
        let saves = self.save_result || self.append_result;
        let result = saves.then(|| ResultFile {
            dir: self.result_dir.clone(),
            name: self.result_filename.clone(),
            append: self.append_result,
            detailed: self.save_detailed,
        });
        Ok(Plan {
            run: RunOptions {
                base_url,
                certificates,
                limits: Limits {
                    silence: Duration::from_secs(self.stall_timeout_sec),
                    total: Duration::from_secs(self.request_timeout_sec),
                    ..Limits::default()
                },
                request: self.request(&settings, model, api_key)?,
                ready_timeout: self.ready_timeout(),
                num_warmups: self.num_warmups,
                settings,
            },
            dataset,
            traffic,
            result,
            tokenizer,
            oversample: !self.data.no_oversample,
            shuffle: !self.data.disable_shuffle,
            seed: self.data.seed,
        })
    }

    fn ready_timeout(&self) -> Option<Duration> {
        let usual = if self.compat < Compat::V0_32 { 600 } else { 0 };
        let seconds = self.ready_check_timeout_sec.unwrap_or(usual);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    fn traffic(&self) -> Traffic {
        let ramp_up = match (self.ramp_up_strategy, self.ramp_up_start_rps, self.ramp_up_end_rps) {
            (Some(strategy), Some(start_rps), Some(end_rps)) => {
                Some(RampUp { strategy, start_rps, end_rps })
            }
            _ => None,
        };
        let rate = (self.request_rate != f64::INFINITY).then_some(self.request_rate);
        Traffic { rate, burstiness: self.burstiness, ramp_up }
    }

    /// `--backend` and `--endpoint-type`.
    fn backends(&self) -> (Backend, Backend) {
        if self.compat < Compat::V0_11 {
            let backend = self.backend.unwrap_or(Backend::Vllm);
            return (backend, self.endpoint_type.unwrap_or(Backend::Openai));
        }
        let backend = self.endpoint_type.or(self.backend).unwrap_or(Backend::Openai);
        (backend, backend)
    }

    fn api(&self) -> Api {
        self.backends().1.api()
    }

    fn ignore_eos(&self) -> bool {
        let random = self.data.dataset_name == DatasetName::Random;
        self.ignore_eos || (self.compat >= Compat::V0_32 && random)
    }

    fn settings(
        &self,
        dataset: &Dataset,
        model: Option<&FirstModel>,
    ) -> Result<RunSettings, BenchError> {
        if self.max_concurrency == Some(0) {
            return Err(BenchError::flag(
                "--max-concurrency",
                "0 is too few: at least 1 is needed",
            ));
        }
        let first = || model.map(|first| first.root.as_ref().unwrap_or(&first.id).clone());
        let model_id = self.model.clone().or_else(first).ok_or_else(|| {
            BenchError::flag("--model", "it is missing, and no server was asked for its model")
        })?;
        let tokenizer = match &self.tokenizer {
            Some(dir) => dir.display().to_string(),
            None if Path::new(&model_id).is_dir() => model_id.clone(),
            None => {
                let message = format!(
                    "it is missing: give a directory with tokenizer.json or a model's file, since the model \
                     {model_id:?} is no directory here"
                );
                return Err(BenchError::flag("--tokenizer", message));
            }
        };
        let (backend, endpoint_type) = self.backends();
        let traffic = self.traffic();
        Ok(RunSettings {
            compat: self.compat,
            backend: backend.name().to_owned(),
            endpoint_type: endpoint_type.name().to_owned(),
            api_url: self.server().base_url + &self.endpoint()?,
            label: self.label.clone(),
            model_id,
            tokenizer_id: tokenizer,
            dataset: dataset.name().to_owned(),
            seed: self.data.seed.into(),
            num_prompts: self.data.num_prompts,
            request_rate: traffic.rate,
            burstiness: traffic.burstiness,
            max_concurrency: self.max_concurrency.map(|limit| limit as usize),
            ramp_up: traffic.ramp_up,
            percentile_metrics: names::metrics(&self.percentile_metrics, self.compat)?,
            percentiles: names::percentiles(&self.metric_percentiles)?,
            goodput: self.goodput()?,
            ignore_eos: self.ignore_eos(),
            date: String::new(),
            metadata: self.metadata()?,
        })
    }

    fn goodput(&self) -> Result<Vec<(MetricKind, f64)>, BenchError> {
        let mut levels: Vec<(MetricKind, f64)> = Vec::new();
        for text in &self.goodput {
            let (kind, value) = names::service_level(text)?;
            levels.retain(|(known, _)| *known != kind);
            levels.push((kind, value));
        }
        Ok(levels)
    }

    /// The oldest client cuts values at a second equals sign.
    fn metadata(&self) -> Result<Map<String, Value>, BenchError> {
        let mut fields = Map::new();
        for text in &self.metadata {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                BenchError::flag("--metadata", format!("{text:?} should be KEY=VALUE"))
            })?;
            let value = match value.split_once('=') {
                Some((value, _)) if self.compat < Compat::V0_11 => value,
                _ => value,
            };
            fields.insert(key.trim().to_owned(), json!(value.trim()));
        }
        Ok(fields)
    }

    fn endpoint(&self) -> Result<String, BenchError> {
        let api = self.api();
        let Some(path) = &self.endpoint else { return Ok(api.usual_endpoint().to_owned()) };
        let chat = api == Api::Completions && path.ends_with(Api::Chat.ending());
        if !path.starts_with('/') || !path.ends_with(api.ending()) || chat {
            let message = format!(
                "{path:?} does not fit the backend, whose path begins with a slash and ends with {}",
                api.ending()
            );
            return Err(BenchError::flag("--endpoint", message));
        }
        Ok(path.clone())
    }

    fn request(
        &self,
        settings: &RunSettings,
        model: Option<&FirstModel>,
        api_key: Option<String>,
    ) -> Result<RequestOptions, BenchError> {
        let served = || model.filter(|_| self.model.is_none()).map(|first| first.id.clone());
        let name = self.served_model_name.clone().or_else(served);
        let request_id_prefix = self.request_id_prefix.clone().or_else(|| match self.compat {
            Compat::V0_10 => None,
            Compat::V0_11 => Some("benchmark-serving".to_owned()),
            Compat::V0_32 => Some(format!("bench-{:08x}-", self.data.seed)),
        });
        Ok(RequestOptions {
            compat: self.compat,
            api: self.api(),
            endpoint: self.endpoint()?,
            model: name.unwrap_or_else(|| settings.model_id.clone()),
            logprobs: self.logprobs,
            ignore_eos: settings.ignore_eos,
            extra_body: self.extra_body()?,
            headers: self.header.clone(),
            api_key,
            request_id_prefix,
        })
    }

    fn extra_body(&self) -> Result<Map<String, Value>, BenchError> {
        let mut fields = Map::new();
        let values = [
            ("top_p", self.top_p.map(|value| json!(value))),
            ("top_k", self.top_k.map(|value| json!(value))),
            ("min_p", self.min_p.map(|value| json!(value))),
            ("temperature", self.temperature.map(|value| json!(value))),
            ("frequency_penalty", self.frequency_penalty.map(|value| json!(value))),
            ("presence_penalty", self.presence_penalty.map(|value| json!(value))),
            ("repetition_penalty", self.repetition_penalty.map(|value| json!(value))),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        }
        if let Some(text) = &self.extra_body {
            let more: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
                BenchError::flag("--extra-body", format!("not a JSON object: {error}"))
            })?;
            fields.extend(more);
        }
        Ok(fields)
    }
}

impl Plan {
    /// Whether the client of this release lets the server's tokenizer cut the prompts.
    pub fn aligns_prompts(&self) -> bool {
        let made_up = matches!(self.dataset, Dataset::Random(_) | Dataset::PrefixRepetition(_));
        self.run.settings.compat >= Compat::V0_32 && made_up
    }

    /// Loads the tokenizer of a directory, makes the prompts and draws the times of arrival.
    ///
    /// # Errors
    /// When the tokenizer or a file cannot be used.
    pub fn prepare(&self) -> Result<Prepared, BenchError> {
        self.prepare_with(Arc::new(Tokenizer::from_dir(&self.tokenizer)?))
    }

    /// Makes the prompts with a tokenizer that was loaded before, and draws the times of arrival.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn prepare_with(&self, tokenizer: Arc<Tokenizer>) -> Result<Prepared, BenchError> {
        let settings = &self.run.settings;
        let sampling = Sampling {
            compat: settings.compat,
            seed: self.seed,
            count: settings.num_prompts,
            tokenizer: &tokenizer,
            chat: self.run.request.api == Api::Chat,
            oversample: self.oversample,
            shuffle: self.shuffle,
        };
        let mut draws = GlobalDraws::new(self.seed);
        let samples = self.dataset.samples(&sampling, &mut draws)?;
        let arrivals = self.traffic.arrivals(samples.len(), &mut draws);
        Ok(Prepared { tokenizer, samples, arrivals })
    }
}

impl Prepared {
    /// What `--dry-run` prints.
    pub fn summary(&self) -> String {
        let total = |of: fn(&Sample) -> usize| -> usize { self.samples.iter().map(of).sum() };
        let last = self.arrivals.last().map_or(0.0, |arrival| arrival.time);
        format!(
            "Prompts:                                 {}\n\
             Total input tokens:                      {}\n\
             Total requested output tokens:           {}\n\
             Last request sent after (s):             {last:.2}\n\
             SHA-256 of all prompts:                  {}\n",
            self.samples.len(),
            total(|sample| sample.prompt_tokens),
            total(|sample| sample.output_tokens),
            digest(&self.samples),
        )
    }
}
