//! Flags of the benchmarks that run the engine in this process.

use std::path::PathBuf;

use clap::Args;
use eitri::QuantizeFormat;

use crate::cli::{EngineArgs, quantity::parse_count};

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Tokens of each prompt
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "32")]
    #[arg(help_heading = "Measurement")]
    pub(crate) input_len: usize,

    /// Tokens generated for each
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "128")]
    #[arg(help_heading = "Measurement")]
    pub(crate) output_len: usize,

    /// Prompts at once
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "8")]
    #[arg(help_heading = "Measurement")]
    pub(crate) batch_size: usize,

    /// Batches before the measured ones
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Measurement")]
    pub(crate) num_iters_warmup: usize,

    /// Measured batches
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "30")]
    #[arg(help_heading = "Measurement")]
    pub(crate) num_iters: usize,

    /// Write the result as JSON
    #[arg(long, value_name = "FILE", help_heading = "Measurement")]
    pub(crate) output_json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Requests, all handed over at once
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "1000")]
    #[arg(help_heading = "Measurement")]
    pub(crate) num_prompts: usize,

    /// Tokens of each prompt
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "1024")]
    #[arg(help_heading = "Measurement")]
    pub(crate) input_len: usize,

    /// Tokens generated for each
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "128")]
    #[arg(help_heading = "Measurement")]
    pub(crate) output_len: usize,

    /// Write the result as JSON
    #[arg(long, value_name = "FILE", help_heading = "Measurement")]
    pub(crate) output_json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Formats to quantise the model to, as in `eitri quantize`; `stored` takes it as it is
    #[arg(long, value_name = "FORMAT,...", value_delimiter = ',', default_value = "stored")]
    #[arg(value_parser = parse_format, help_heading = "Measurement")]
    pub(crate) formats: Vec<SweepFormat>,

    /// Prompts at once
    #[arg(long, value_name = "N,...", value_parser = parse_count, value_delimiter = ',')]
    #[arg(default_value = "1,2,4,8", help_heading = "Measurement")]
    pub(crate) batch_sizes: Vec<usize>,

    /// Tokens of each prompt
    #[arg(long, value_name = "N,...", value_parser = parse_count, value_delimiter = ',')]
    #[arg(default_value = "128,1024", help_heading = "Measurement")]
    pub(crate) input_lens: Vec<usize>,

    /// Tokens generated for each
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "64")]
    #[arg(help_heading = "Measurement")]
    pub(crate) output_len: usize,

    /// Batches of each kind; the fastest counts
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "3")]
    #[arg(help_heading = "Measurement")]
    pub(crate) repetitions: usize,

    /// Write the result as JSON
    #[arg(long, value_name = "FILE", help_heading = "Measurement")]
    pub(crate) output_json: Option<PathBuf>,
}

/// A format of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SweepFormat {
    /// As the model is.
    Stored,
    /// Quantised for the sweep.
    Quantized(QuantizeFormat),
}

impl SweepFormat {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Quantized(QuantizeFormat::Gguf(preset)) => preset.name,
            Self::Quantized(QuantizeFormat::Directory(scheme)) => scheme.name,
        }
    }
}

fn parse_format(name: &str) -> Result<SweepFormat, String> {
    if name == "stored" {
        return Ok(SweepFormat::Stored);
    }
    QuantizeFormat::find(name).map(SweepFormat::Quantized).ok_or_else(|| {
        let names: Vec<&str> = QuantizeFormat::names().collect();
        format!("is not a format; those are stored, {}", names.join(", "))
    })
}

#[derive(Debug, Args)]
pub(crate) struct KernelArgs {
    /// Only operations whose names contain one of these
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Rows and columns of the matrices
    #[arg(long, value_name = "NxK", value_parser = parse_shape, default_value = "3072x1024")]
    pub(crate) shape: [usize; 2],

    /// Threads that compute [default: the number of the machine's cores]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) threads: Option<usize>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_shape(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').map(|(n, k)| [n, k].map(parse_count));
    match sides {
        Some([Ok(n), Ok(k)]) => Ok([n, k]),
        _ => Err("must be two numbers such as 3072x1024".to_owned()),
    }
}
