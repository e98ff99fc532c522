//! A result block with everything that a reader needs to judge it.

use serde::{Deserialize, Serialize};

use super::{
    bytes::ModelBytes,
    device::{Arithmetic, Device},
    figures::Figures,
    floor::{self, Floor, Shape, Verdict, step_ms},
    jitter::Jitter,
    machine::Energy,
    outputs::OutputCheck,
    prompt_cache::PromptCache,
    published::{Load, PublishedRow},
};
use crate::outcome::{BenchOutcome, ServerFacts};

/// Where figures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Someone else's, as printed.
    Published,
    /// By a run of ours.
    Measured,
    /// Computed from bytes, operations and limits of a device; nothing ran.
    Modelled,
}

impl Origin {
    /// In tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Measured => "measured",
            Self::Modelled => "modelled",
        }
    }
}

/// What is wrong with a block, gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum WarningKind {
    /// It is faster than it can be.
    Floor,
    /// Requests failed.
    Failures,
    /// Answers look broken.
    Answers,
}

/// What a reader has to be told before the numbers of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What is wrong.
    pub kind: WarningKind,
    /// A sentence that begins in lower case.
    pub text: String,
}

/// Figures and how far they can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Where they come from.
    pub origin: Origin,
    /// What `vllm bench serve` prints.
    pub figures: Figures,
    /// Requests that were not answered.
    pub failed: usize,
    /// Milliseconds of a decode step: see [`step_ms`].
    pub step_ms: Option<f64>,
    /// The bounds of its steps; none where the sizes of the model or the device are not known.
    pub floor: Option<Floor>,
    /// Whether prompts were cached.
    pub prompt_cache: PromptCache,
    /// How evenly tokens came.
    pub jitter: Option<Jitter>,
    /// Whether the answers are text.
    pub outputs: Option<OutputCheck>,
    /// What it cost.
    pub energy: Option<Energy>,
    /// What the server said of itself.
    pub server: Option<ServerFacts>,
    /// How the server was started, where that is known.
    pub server_command: Option<Vec<String>>,
}

impl Block {
    /// Of a run that was measured, without bounds.
    pub fn measured(outcome: &BenchOutcome) -> Self {
        let figures = Figures::of(outcome);
        Self {
            origin: Origin::Measured,
            step_ms: step_ms(&figures),
            figures,
            failed: outcome.metrics.failed,
            floor: None,
            prompt_cache: PromptCache::of(outcome),
            jitter: Jitter::of(outcome),
            outputs: Some(OutputCheck::of(outcome)),
            energy: None,
            server: Some(outcome.server.clone()),
            server_command: None,
        }
    }

    /// Of figures that stand for themselves.
    pub(super) fn bare(origin: Origin, figures: Figures, prompt_cache: PromptCache) -> Self {
        Self {
            origin,
            step_ms: step_ms(&figures),
            figures,
            failed: 0,
            floor: None,
            prompt_cache,
            jitter: None,
            outputs: None,
            energy: None,
            server: None,
            server_command: None,
        }
    }

    /// Of a published row, judged by what its checkpoint needs on `device`; none for a load that
    /// was not published.
    pub fn published(
        row: &PublishedRow,
        load: Load,
        bytes: &ModelBytes,
        device: &Device,
    ) -> Option<Self> {
        let figures = row.figures(load)?.clone();
        let computing_ms = computing_ms(&figures, bytes, row.arithmetic, device);
        let high = (load != Load::High).then_some(&row.high);
        let prompt_cache = PromptCache::inferred(&figures, computing_ms, high);
        let block = Self::bare(Origin::Published, figures, prompt_cache);
        Some(block.judged(bytes, device))
    }

    /// The same with bounds.
    #[must_use]
    pub fn judged(mut self, bytes: &ModelBytes, device: &Device) -> Self {
        self.floor = Floor::judge(&self.figures, bytes, device);
        self
    }

    /// What was found; [`Verdict::Possible`] where nothing is known.
    pub fn verdict(&self) -> Verdict {
        self.floor.map_or(Verdict::Possible, |floor| floor.verdict)
    }

    /// What a reader has to be told before the numbers.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(floor) = self.floor {
            let needed = floor.implied_gbps;
            match floor.verdict {
                Verdict::BeatsNominal => warnings.push(Warning {
                    kind: WarningKind::Floor,
                    text: format!(
                        "beats the nominal floor: {:.2} ms a step would read {needed:.0} GB/s, which \
                         the device does not have",
                        floor.step_ms
                    ),
                }),
                Verdict::BeatsPractical => warnings.push(Warning {
                    kind: WarningKind::Floor,
                    text: format!(
                        "beats the practical floor: {:.2} ms a step would read {needed:.0} GB/s, \
                         which nobody has measured on the device",
                        floor.step_ms
                    ),
                }),
                Verdict::Possible | Verdict::FitsInCache => {}
            }
        }
        if let Some(outputs) = self.outputs.filter(OutputCheck::is_alarm) {
            let text = format!("answers look broken: {outputs}");
            warnings.push(Warning { kind: WarningKind::Answers, text });
        }
        if self.failed > 0 {
            let text = format!("{} requests failed", self.failed);
            warnings.push(Warning { kind: WarningKind::Failures, text });
        }
        warnings
    }
}

/// Least milliseconds to compute a prompt at the device's nominal rates.
fn computing_ms(
    figures: &Figures,
    bytes: &ModelBytes,
    arithmetic: Arithmetic,
    device: &Device,
) -> Option<f64> {
    let prompt = Shape::of(figures)?.prompt;
    floor::prefill_ms(bytes, prompt, arithmetic, device.nominal.as_ref()?)
}
