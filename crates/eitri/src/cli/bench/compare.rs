//! Flags of `eitri bench compare`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::quantity::parse_count;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Result files of `bench serve --save-result`, `vllm bench serve --save-result` or `bench
    /// reproduce`; the others are compared with the first. Intervals need --save-detailed
    #[arg(value_name = "FILE", num_args = 2.., required_unless_present = "paired")]
    pub(crate) files: Vec<PathBuf>,

    /// Measure two servers in turns instead, with the same prompts
    #[arg(long, num_args = 2, value_names = ["URL_A", "URL_B"], conflicts_with = "files")]
    #[arg(requires = "tokenizer")]
    pub(crate) paired: Vec<String>,

    /// Share by which a metric may be worse before it counts as a regression
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub(crate) threshold: f64,

    /// Share of the intervals that hold the true ratio
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = parse_confidence)]
    pub(crate) confidence: f64,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Directory with the tokenizer.json of both servers' models
    #[arg(long, value_name = "DIR", help_heading = "Servers in turns")]
    pub(crate) tokenizer: Option<PathBuf>,

    /// Name of the model in requests [default: the first that each server lists]
    #[arg(long, value_name = "NAME", help_heading = "Servers in turns")]
    pub(crate) model: Option<String>,

    /// Turns of each server
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "4")]
    #[arg(help_heading = "Servers in turns")]
    pub(crate) rounds: usize,

    /// Requests of a turn; each turn has prompts of its own
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "16")]
    #[arg(help_heading = "Servers in turns")]
    pub(crate) num_prompts: usize,

    /// Requests at once
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "4")]
    #[arg(help_heading = "Servers in turns")]
    pub(crate) max_concurrency: usize,

    /// Tokens of each prompt
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "512")]
    #[arg(help_heading = "Servers in turns")]
    pub(crate) input_len: usize,

    /// Tokens generated for each
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "64")]
    #[arg(help_heading = "Servers in turns")]
    pub(crate) output_len: usize,

    /// Seed of the prompts
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Servers in turns")]
    pub(crate) seed: u32,
}

fn parse_confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("must be above 0 and below 1".to_owned()),
    }
}
