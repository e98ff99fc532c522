//! The command line.

mod bench;
mod engine_args;
mod inspect_args;
mod quantity;
mod quantize_args;
mod serve_args;
#[cfg(test)]
mod tests;
mod vllm_flags;

use std::{ffi::OsString, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

pub(crate) use bench::{
    BenchArgs, BenchCommand, BenchServeArgs, CompareArgs, HereArgs, KernelArgs, LatencyArgs,
    ModelledDevice, ReproduceArgs, SweepArgs, SweepFormat, ThroughputArgs,
};
pub(crate) use engine_args::EngineArgs;
pub(crate) use inspect_args::{Bandwidth, InspectArgs};
pub(crate) use quantize_args::QuantizeArgs;
pub(crate) use serve_args::ServeArgs;

/// OpenAI-compatible inference server for Qwen3 models.
#[derive(Debug, Parser)]
#[command(name = "eitri", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How much is logged to standard error; `EITRI_LOG` can name single modules
    #[arg(long, global = true, value_enum, value_name = "LEVEL", help_heading = "Logging")]
    pub(crate) log_level: Option<LogLevel>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a model over HTTP with the OpenAI API; flags are named as in `vllm serve`
    Serve(Box<ServeArgs>),
    /// Talk to a model in the terminal
    Chat(Box<ChatArgs>),
    /// Show a model's shape, formats, kernels, bytes read and memory plan without loading it, or write
    /// its values as plain tensors
    Inspect(Box<InspectArgs>),
    /// Write a model quantised, as a GGUF file or a Hugging Face directory, and report how exact it is
    Quantize(QuantizeArgs),
    /// Measure servers, the engine and its kernels, and say how far the numbers can be trusted
    Bench(BenchArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Answer this and exit; prints nothing but the answer
    #[arg(long, value_name = "TEXT", help_heading = "Conversation")]
    pub(crate) prompt: Option<String>,

    /// Instructions to the model
    #[arg(long, value_name = "TEXT", help_heading = "Conversation")]
    pub(crate) system: Option<String>,

    /// Functions that the model may call, a JSON list as in the OpenAI API [default: for the
    /// model `robot` those that it knows, else none]
    #[arg(long, value_name = "FILE", help_heading = "Conversation")]
    pub(crate) tools: Option<PathBuf>,

    /// Answer without thinking first, where the chat template has that choice
    #[arg(long, help_heading = "Conversation")]
    pub(crate) no_thinking: bool,

    /// Most tokens of one answer [default: what the context leaves]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Conversation")]
    pub(crate) max_tokens: Option<u32>,

    /// 0 always takes the most likely token [default: the model's own, or else 0]
    #[arg(long, value_name = "T", help_heading = "Conversation")]
    pub(crate) temperature: Option<f32>,
}

impl Command {
    /// A conversation in a terminal is not interrupted by what went as it should.
    pub(crate) fn usual_log_level(&self) -> LogLevel {
        match self {
            Self::Serve(_) => LogLevel::Info,
            Self::Chat(_) | Self::Inspect(_) | Self::Quantize(_) | Self::Bench(_) => LogLevel::Warn,
        }
    }
}

impl LogLevel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// From the names of Python's `logging`.
    pub(crate) fn from_vllm(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "critical" | "error" => Some(Self::Error),
            "warning" | "warn" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            _ => None,
        }
    }
}

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) cli: Cli,
    /// What the user should know about flags that have no effect here.
    pub(crate) notes: Vec<String>,
}

/// Parses a command line whose first item is the program.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments.into_iter().map(normalise))?;
    let mut notes = Vec::new();
    if let Some(("serve", matches)) = matches.subcommand() {
        notes = vllm_flags::judge(matches)
            .map_err(|message| serve_error(&mut command, ErrorKind::InvalidValue, message))?;
    }
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    if let Command::Serve(arguments) = &cli.command {
        arguments
            .check()
            .map_err(|message| serve_error(&mut command, ErrorKind::ArgumentConflict, message))?;
        notes.extend(arguments.notes());
    }
    Ok(Parsed { cli, notes })
}

fn command() -> clap::Command {
    Cli::command().mut_subcommand("serve", |serve| serve.args(vllm_flags::arguments()))
}

/// A usage error of `eitri serve`, with its usage line.
fn serve_error(command: &mut clap::Command, kind: ErrorKind, message: String) -> clap::Error {
    match command.find_subcommand_mut("serve") {
        Some(serve) => serve.error(kind, message),
        None => command.error(kind, message),
    }
}

/// `--max_model_len` is `--max-model-len`, and `-tp` is not three short flags, as in vLLM.
fn normalise(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    if let Some(long) = vllm_flags::long_form(text) {
        return long.into();
    }
    let Some(rest) = text.strip_prefix("--").filter(|rest| !rest.is_empty()) else {
        return argument;
    };
    let (name, value) = rest.find('=').map_or((rest, ""), |at| rest.split_at(at));
    let is_flag = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !is_flag {
        return argument;
    }
    format!("--{}{value}", name.replace('_', "-")).into()
}
