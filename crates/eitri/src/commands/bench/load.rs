//! The client of `bench serve`, told what to do by the same flags.

use anyhow::{Context as _, Result};
use clap::{Args, Command, FromArgMatches};
use eitri::Engine;
use eitri_bench::{
    cli::{Plan, Prepared, ServeArgs},
    outcome::BenchOutcome,
};
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
    let prepared = prepare(&plan)?;
    serve::send(runtime, &plan, prepared, false)
}

/// Makes the prompts. The tokenizer is that of a directory or of a model: a GGUF file, one of this
/// program, or one in a cache.
pub(super) fn prepare(plan: &Plan) -> Result<Prepared> {
    if plan.tokenizer.join("tokenizer.json").is_file() {
        return Ok(plan.prepare()?);
    }
    let model = Engine::builder().model(&plan.tokenizer).plan();
    let tokenizer = model.and_then(|model| model.tokenizer()).with_context(|| {
        let place = plan.tokenizer.display();
        format!("--tokenizer {place}: no directory with tokenizer.json and no model")
    })?;
    Ok(plan.prepare_with(tokenizer)?)
}

/// Flags with their values.
pub(super) fn flags<const N: usize>(pairs: [(&str, String); N]) -> Vec<String> {
    pairs.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
}
