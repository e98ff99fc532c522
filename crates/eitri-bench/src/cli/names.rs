//! Values that flags can have.

use clap::{ValueEnum, builder::PossibleValue};

use crate::{Api, BenchError, Compat, outcome::MetricKind};

/// `--backend` and `--endpoint-type`: who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Completions.
    Vllm,
    /// Completions.
    Openai,
    /// Chats.
    OpenaiChat,
    /// Responses.
    OpenaiResponses,
}

// Written out: derived, the variants' documentation would stretch the help of all flags.
impl ValueEnum for Backend {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Vllm, Self::Openai, Self::OpenaiChat, Self::OpenaiResponses]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl Backend {
    /// The value of the flag.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Openai => "openai",
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
        }
    }

    pub(super) fn api(self) -> Api {
        match self {
            Self::Vllm | Self::Openai => Api::Completions,
            Self::OpenaiChat => Api::Chat,
            Self::OpenaiResponses => Api::Responses,
        }
    }
}

impl Api {
    /// Where servers have it.
    pub(super) fn usual_endpoint(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
        }
    }

    /// How a path must end.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Chat => "chat/completions",
            Self::Responses => "responses",
        }
    }
}

/// `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it should be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// A number or `inf`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it should be a number or inf".to_owned())?;
    if value.is_nan() { Err("it should be a number or inf".to_owned()) } else { Ok(value) }
}

/// A list of metrics, separated by commas.
pub(super) fn metrics(text: &str, compat: Compat) -> Result<Vec<MetricKind>, BenchError> {
    let known = match compat {
        Compat::V0_32 => &MetricKind::ALL[..],
        _ => &MetricKind::ALL[..4],
    };
    let find = |name: &str| {
        known.iter().find(|kind| kind.name() == name).copied().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|kind| kind.name()).collect();
            let message = format!("{name:?} is no metric: there are {}", names.join(", "));
            BenchError::flag("--percentile-metrics", message)
        })
    };
    text.split(',').map(|name| find(name.trim())).collect()
}

/// A list of percentiles, separated by commas.
pub(super) fn percentiles(text: &str) -> Result<Vec<f64>, BenchError> {
    let parse = |word: &str| {
        let value = word.trim().parse::<f64>().ok();
        value.filter(|value| (0.0..=100.0).contains(value)).ok_or_else(|| {
            let message = format!("{word:?} is no percentile: they are numbers from 0 to 100");
            BenchError::flag("--metric-percentiles", message)
        })
    };
    text.split(',').map(parse).collect()
}

/// `METRIC:MILLISECONDS`.
pub(super) fn service_level(text: &str) -> Result<(MetricKind, f64), BenchError> {
    let bad = || {
        let message = format!(
            "{text:?} is no service level: they are ttft:MS, tpot:MS and e2el:MS, from 0 on"
        );
        BenchError::flag("--goodput", message)
    };
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let kinds = [MetricKind::Ttft, MetricKind::Tpot, MetricKind::E2el];
    let kind = kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(bad)?;
    let value = value.parse::<f64>().ok().filter(|value| *value >= 0.0).ok_or_else(bad)?;
    Ok((kind, value))
}
