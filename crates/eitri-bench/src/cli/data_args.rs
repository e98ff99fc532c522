use std::path::PathBuf;

use clap::{Args, ValueEnum, builder::PossibleValue};
use serde::Deserialize;

use crate::{
    BenchError, Compat,
    dataset::{Dataset, PrefixRepetition, RandomLengths, RangeRatio, SonnetLengths},
};

/// `--dataset-name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetName {
    /// Consecutive tokens from random places of the vocabulary on.
    Random,
    /// A few random beginnings, each with many random ends.
    PrefixRepetition,
    /// First turns of the conversations in a JSON file of `ShareGPT`.
    Sharegpt,
    /// Lines of a text file.
    Sonnet,
    /// The prompts in a JSONL file.
    Custom,
    /// Lengths from a CSV file of `BurstGPT`.
    Burstgpt,
}

impl ValueEnum for DatasetName {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Random,
            Self::PrefixRepetition,
            Self::Sharegpt,
            Self::Sonnet,
            Self::Custom,
            Self::Burstgpt,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Random => "random",
            Self::PrefixRepetition => "prefix_repetition",
            Self::Sharegpt => "sharegpt",
            Self::Sonnet => "sonnet",
            Self::Custom => "custom",
            Self::Burstgpt => "burstgpt",
        }))
    }
}

/// Flags that say what is sent; their help texts are the documentation.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Prompts")]
pub struct DataArgs {
    /// Where prompts come from: made up (random: consecutive tokens from random places of the
    /// vocabulary on; `prefix_repetition`: a few random beginnings, each with many random ends) or from
    /// a file (sharegpt: JSON, sonnet: lines of text, custom: JSONL, burstgpt: CSV)
    #[arg(long, value_enum, default_value = "random", value_name = "NAME")]
    pub dataset_name: DatasetName,

    /// The file of sharegpt, sonnet, custom and burstgpt
    #[arg(long, value_name = "FILE")]
    pub dataset_path: Option<PathBuf>,

    /// Requests of the run
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub num_prompts: usize,

    /// Decides over all random draws
    #[arg(long, default_value_t = 0)]
    pub seed: u32,

    /// Tokens of a prompt, whatever the data set; goes before its own flag
    #[arg(long, value_name = "N")]
    pub input_len: Option<usize>,

    /// Tokens of an answer, whatever the data set; goes before its own flag
    #[arg(long, value_name = "N")]
    pub output_len: Option<usize>,

    /// random: tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub random_input_len: usize,

    /// random: tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub random_output_len: usize,

    /// random: share by which lengths vary around these; with vllm-0.32 also
    /// {"input": X, "output": Y}
    #[arg(long, value_name = "X", default_value = "0.0")]
    pub random_range_ratio: String,

    /// random: tokens that all prompts begin with
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub random_prefix_len: usize,

    /// `prefix_repetition`: tokens of a beginning
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub prefix_repetition_prefix_len: usize,

    /// `prefix_repetition`: tokens of an end
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub prefix_repetition_suffix_len: usize,

    /// `prefix_repetition`: different beginnings
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub prefix_repetition_num_prefixes: usize,

    /// `prefix_repetition`: tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub prefix_repetition_output_len: usize,

    /// sharegpt: tokens of an answer [default: those of the conversation]
    #[arg(long, value_name = "N")]
    pub sharegpt_output_len: Option<usize>,

    /// sonnet: most tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 550)]
    pub sonnet_input_len: usize,

    /// sonnet: tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 150)]
    pub sonnet_output_len: usize,

    /// sonnet: tokens that all prompts begin with
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub sonnet_prefix_len: usize,

    /// custom: tokens of an answer; -1 takes the field `output_tokens` of each line
    #[arg(long, value_name = "N", default_value_t = 256, allow_hyphen_values = true)]
    pub custom_output_len: i64,

    /// custom: send prompts as they are, without the chat template
    #[arg(long, alias = "skip-chat-template")]
    pub custom_skip_chat_template: bool,

    /// Use no prompt of a file twice, even where there are too few
    #[arg(long)]
    pub no_oversample: bool,

    /// Take the prompts of a file in its order
    #[arg(long)]
    pub disable_shuffle: bool,
}

impl DataArgs {
    /// The data set with its lengths.
    pub(super) fn dataset(&self, compat: Compat) -> Result<Dataset, BenchError> {
        let path = || {
            self.dataset_path.clone().ok_or_else(|| {
                BenchError::flag("--dataset-path", "it is missing: the data set needs a file")
            })
        };
        let made_up =
            matches!(self.dataset_name, DatasetName::Random | DatasetName::PrefixRepetition);
        if made_up && self.dataset_path.is_some() {
            let message =
                "the data set needs no file: name the kind of the file with --dataset-name";
            return Err(BenchError::flag("--dataset-path", message));
        }
        let output = |own: usize| self.output_len.unwrap_or(own);
        Ok(match self.dataset_name {
            DatasetName::Random => Dataset::Random(RandomLengths {
                input_len: self.input_len.unwrap_or(self.random_input_len),
                output_len: output(self.random_output_len),
                prefix_len: self.random_prefix_len,
                range_ratio: range_ratio(&self.random_range_ratio, compat)?,
            }),
            DatasetName::PrefixRepetition => Dataset::PrefixRepetition(PrefixRepetition {
                prefix_len: self.prefix_repetition_prefix_len,
                suffix_len: self.prefix_repetition_suffix_len,
                num_prefixes: self.prefix_repetition_num_prefixes,
                output_len: output(self.prefix_repetition_output_len),
            }),
            DatasetName::Sharegpt => Dataset::ShareGpt {
                path: path()?,
                output_len: self.output_len.or(self.sharegpt_output_len),
            },
            DatasetName::Sonnet => Dataset::Sonnet {
                path: path()?,
                lengths: SonnetLengths {
                    input_len: self.input_len.unwrap_or(self.sonnet_input_len),
                    output_len: output(self.sonnet_output_len),
                    prefix_len: self.sonnet_prefix_len,
                },
            },
            DatasetName::Custom => Dataset::Custom {
                path: path()?,
                output_len: self.output_len.or(self.custom_output_len()?),
                skip_chat_template: self.custom_skip_chat_template,
            },
            DatasetName::Burstgpt => Dataset::BurstGpt { path: path()? },
        })
    }

    fn custom_output_len(&self) -> Result<Option<usize>, BenchError> {
        match self.custom_output_len {
            -1 => Ok(None),
            len => usize::try_from(len).map(Some).map_err(|_| {
                let message = format!("{len} is out of range: it is at least 0, or -1");
                BenchError::flag("--custom-output-len", message)
            }),
        }
    }
}

fn range_ratio(text: &str, compat: Compat) -> Result<RangeRatio, BenchError> {
    #[derive(Deserialize)]
    struct Pair {
        input: f64,
        output: f64,
    }
    if let Ok(ratio) = text.parse() {
        return Ok(RangeRatio { input: ratio, output: ratio });
    }
    match serde_json::from_str(text) {
        Ok(Pair { input, output }) if compat >= Compat::V0_32 => Ok(RangeRatio { input, output }),
        _ => {
            let message = format!(
                "{text:?} is no share: it is a number, or with --compat vllm-0.32 \
                 {{\"input\": X, \"output\": Y}}"
            );
            Err(BenchError::flag("--random-range-ratio", message))
        }
    }
}
