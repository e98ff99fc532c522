//! `eitri bench compare`.

use anyhow::{Context as _, Result, bail, ensure};
use eitri_bench::{
    ServerAddress,
    compare::{CompareOptions, Comparison, Run, Sample},
    first_model,
};

use super::load::{self, flags};
use crate::{cli::CompareArgs, console};

pub(super) fn run(arguments: &CompareArgs) -> Result<()> {
    let samples = match arguments.paired.as_slice() {
        [a, b] => paired([a, b], arguments)?,
        _ => arguments.files.iter().map(|path| Sample::read(path)).collect::<Result<_, _>>()?,
    };
    let options = CompareOptions {
        threshold: arguments.threshold,
        confidence: arguments.confidence,
        ..CompareOptions::default()
    };
    let Some((base, others)) = samples.split_first() else { bail!("nothing to compare") };
    let comparisons: Vec<Comparison> =
        others.iter().map(|other| Comparison::of(base, other, &options)).collect();
    let text = if arguments.json {
        serde_json::to_string_pretty(&comparisons)?
    } else {
        comparisons.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
    };
    console::print_result(&text)?;
    ensure!(
        !comparisons.iter().any(Comparison::has_regression),
        "worse by more than {:.1} %",
        arguments.threshold * 100.0
    );
    Ok(())
}

fn address(url: &str) -> ServerAddress {
    ServerAddress { base_url: url.to_owned(), ..ServerAddress::default() }
}

/// Measures both servers in turns: A B, B A, A B and so on, so that what drifts on the machine meets
/// both alike. Each turn has prompts that neither has seen. The first turn of each does not count: a
/// server that has just been started is not yet what it will be.
fn paired(urls: [&String; 2], arguments: &CompareArgs) -> Result<Vec<Sample>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tokenizer = arguments.tokenizer.as_ref().context("--tokenizer is missing")?;
    let mut samples = urls.map(|url| Sample { name: url.clone(), runs: Vec::new() });
    let key = std::env::var("OPENAI_API_KEY").ok();
    let models = urls
        .into_iter()
        .map(|url| match &arguments.model {
            Some(model) => Ok(model.clone()),
            None => Ok(runtime.block_on(first_model(&address(url), key.as_deref()))?.id),
        })
        .collect::<Result<Vec<String>>>()?;
    for round in 0..=arguments.rounds {
        for turn in 0..2 {
            let side = (round + turn) % 2;
            let seed = arguments.seed + round as u32;
            let mut line = flags([
                ("base-url", urls[side].clone()),
                ("model", models[side].clone()),
                ("tokenizer", tokenizer.display().to_string()),
                ("random-input-len", arguments.input_len.to_string()),
                ("random-output-len", arguments.output_len.to_string()),
                ("num-prompts", arguments.num_prompts.to_string()),
                ("max-concurrency", arguments.max_concurrency.to_string()),
                ("ready-check-timeout-sec", "0".to_owned()),
                ("seed", seed.to_string()),
            ]);
            line.push("--ignore-eos".to_owned());
            let outcome = load::send(&runtime, &line)?;
            ensure!(!outcome.interrupted, "interrupted");
            let failed = outcome.metrics.failed;
            ensure!(failed == 0, "{failed} requests to {} failed", urls[side]);
            let throughput = outcome.metrics.output_throughput;
            if round == 0 {
                eprintln!("warm-up, {}: {throughput:.1} tok/s", urls[side]);
                continue;
            }
            eprintln!(
                "round {round} of {}, {}: {throughput:.1} tok/s",
                arguments.rounds, urls[side]
            );
            samples[side].runs.push(Run::of(&outcome));
        }
    }
    Ok(samples.into())
}
