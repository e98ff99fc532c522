//! The client of `bench serve`, told what to do by the same flags.

use anyhow::Result;
use clap::{Args, Command, FromArgMatches};
use eitri_bench::{cli::ServeArgs, outcome::BenchOutcome};
use tokio::runtime::Runtime;

use super::serve;

/// Sends what the flags say and measures. Ctrl-C ends the run early, which the outcome then says.
pub(super) fn send(runtime: &Runtime, flags: &[String]) -> Result<BenchOutcome> {
    let name = "bench serve".to_owned();
    let line = std::iter::once(&name).chain(flags);
    let matches =
        ServeArgs::augment_args(Command::new("bench serve")).try_get_matches_from(line)?;
    let api_key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
    let plan = ServeArgs::from_arg_matches(&matches)?.plan(None, api_key)?;
    let prepared = plan.prepare()?;
    serve::send(runtime, &plan, prepared, false)
}

/// Flags with their values.
pub(super) fn flags<const N: usize>(pairs: [(&str, String); N]) -> Vec<String> {
    pairs.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
}
