//! Flags of `eitri bench reproduce`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct ReproduceArgs {
    /// Where results are kept and tables are written; what is there already is not measured again
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub(crate) out: PathBuf,

    /// Directory with the checkpoints, each a directory or .gguf file of its name
    #[arg(long, value_name = "DIR")]
    #[arg(required_unless_present_any = ["modelled", "scale"])]
    pub(crate) models_dir: Option<PathBuf>,

    /// Only checkpoints whose names contain one of these, whatever their case
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Device that serves
    #[arg(long, value_enum, default_value_t = ServingDevice::Cpu)]
    device: ServingDevice,

    /// Run nothing: fill the tables with what the bytes and operations of each checkpoint need at
    /// least on this device
    #[arg(long, value_enum, value_name = "DEVICE", conflicts_with_all = ["models_dir", "scale"])]
    pub(crate) modelled: Option<ModelledDevice>,

    /// Rehearse with random checkpoints of a few million parameters, which are made for it, and
    /// short prompts
    #[arg(long, value_enum, value_name = "SCALE", conflicts_with = "models_dir")]
    pub(crate) scale: Option<RehearsalScale>,

    /// Further flags of `eitri serve`, such as `--threads 4`
    #[arg(last = true, value_name = "SERVE FLAGS", conflicts_with = "modelled")]
    pub(crate) serve_flags: Vec<String>,
}

/// What serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ServingDevice {
    /// The cores of this machine
    Cpu,
}

/// What can be modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelledDevice {
    /// NVIDIA Jetson Thor (T5000)
    Thor,
}

/// How small a rehearsal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RehearsalScale {
    /// 128 tokens in, 24 out
    Tiny,
}
