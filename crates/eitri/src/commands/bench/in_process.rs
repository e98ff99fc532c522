//! Batches on an engine in this process, with the time of every token.

use std::{sync::Arc, thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use eitri::{Engine, GenerationOptions, Prompt, TokenId};
use eitri_bench::report::Times;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{cli::EngineArgs, console::Meter};

/// Ids above this are rare in any vocabulary; vLLM's benchmarks draw below it too.
const MAX_TOKEN: usize = 10_000;

/// One batch. Times are in seconds since it was handed over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchTimes {
    /// When each request's tokens came.
    pub(super) tokens: Vec<Vec<f64>>,
}

impl BatchTimes {
    /// Until the last token of all.
    pub(super) fn total(&self) -> f64 {
        self.tokens.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// Generated tokens.
    pub(super) fn count(&self) -> usize {
        self.tokens.iter().map(Vec::len).sum()
    }

    /// Until each request's first token, in milliseconds.
    pub(super) fn first_ms(&self) -> Times {
        Times::of(self.tokens.iter().filter_map(|times| Some(times.first()? * 1e3)).collect())
    }

    /// Between the tokens of a request, in milliseconds, all requests pooled.
    pub(super) fn gaps_ms(&self) -> Times {
        let gaps = |times: &Vec<f64>| -> Vec<f64> {
            times.windows(2).map(|pair| (pair[1] - pair[0]) * 1e3).collect()
        };
        Times::of(self.tokens.iter().flat_map(gaps).collect())
    }
}

/// Loads the engine of `arguments` for prompts that are never seen twice.
pub(super) fn load(arguments: &EngineArgs, batch: usize) -> Result<Engine> {
    arguments.fetch()?;
    let builder = arguments.builder()?.prefix_caching(false);
    // More at once than usual is what the user asked for.
    let builder = if batch > 64 { builder.max_num_seqs(batch) } else { builder };
    load_planned(builder)
}

/// Loads an engine and shows how far it is.
pub(super) fn load_planned(builder: eitri::EngineBuilder) -> Result<Engine> {
    let meter = Meter::new();
    let engine = builder.plan()?.load(Some(&|progress| meter.loading(progress)));
    meter.clear();
    Ok(engine?)
}

/// Random prompts, the same ones for the same seed.
pub(super) fn prompts(
    engine: &Engine,
    batch: usize,
    input_len: usize,
    seed: u64,
) -> Vec<Vec<TokenId>> {
    let vocabulary = engine.model_info().config.vocab_size.min(MAX_TOKEN) as TokenId;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut prompt = || (0..input_len).map(|_| rng.random_range(0..vocabulary)).collect();
    (0..batch).map(|_| prompt()).collect()
}

/// Hands all prompts over at once and waits for `output_len` tokens of each.
pub(super) fn run_batch(
    engine: &Arc<Engine>,
    prompts: Vec<Vec<TokenId>>,
    output_len: usize,
) -> Result<BatchTimes> {
    let max_tokens = u32::try_from(output_len).context("--output-len is too large")?;
    let options = GenerationOptions {
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        ..GenerationOptions::greedy()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let tokens = runtime.block_on(async {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (index, prompt) in prompts.into_iter().enumerate() {
            let mut generation = engine.generate(Prompt::Tokens(prompt), options.clone())?;
            tasks.spawn(async move {
                let mut times = Vec::with_capacity(output_len);
                while let Some(piece) = generation.next().await {
                    let now = start.elapsed().as_secs_f64();
                    times.extend(piece?.tokens.iter().map(|_| now));
                }
                Ok::<_, eitri::Error>((index, times))
            });
        }
        let mut tokens = vec![Vec::new(); tasks.len()];
        while let Some(answer) = tasks.join_next().await {
            let (index, times) = answer??;
            tokens[index] = times;
        }
        Ok::<_, anyhow::Error>(tokens)
    })?;
    let shortest = tokens.iter().map(Vec::len).min().unwrap_or_default();
    ensure!(
        shortest == output_len,
        "only {shortest} of {output_len} tokens were generated: --input-len and --output-len exceed the \
         context of {} together",
        engine.memory_plan().max_model_len
    );
    Ok(BatchTimes { tokens })
}

/// Threads that the flags ask for.
pub(super) fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, std::num::NonZero::get))
}
