//! `eitri bench serve`.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use eitri_bench::{
    Alignment, Progress, RunControl, RunEvent, align_prompts,
    cli::{Plan, Prepared},
    first_model,
    outcome::{BenchOutcome, FailureKind},
    report::{Block, Energy, EnergyMeter, statement},
    run as measure,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

use super::{facts, load};
use crate::{
    cli::BenchServeArgs,
    console::{self, Meter},
};

/// How often the bar is renewed.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn run(arguments: &BenchServeArgs) -> Result<()> {
    let serve = &arguments.serve;
    for note in serve.notes() {
        eprintln!("note: {note}");
    }
    // One thread: the client must leave the processor to a server on the same machine.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let api_key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
    let model = if serve.model.is_none() {
        let server = serve.server();
        let asked = first_model(&server, api_key.as_deref());
        Some(runtime.block_on(asked)?)
    } else {
        None
    };
    let plan = serve.plan(model.as_ref(), api_key)?;
    let mut prepared = load::prepare(&plan)?;
    if serve.dry_run {
        return console::print_result(prepared.summary().trim_end());
    }
    if plan.aligns_prompts() {
        align(&runtime, &plan, &mut prepared)?;
    }
    // Before anything is sent: a model that is not there should not cost a run.
    let bytes = arguments.floor_of.as_deref().map(facts::of_files).transpose()?;
    let meter = EnergyMeter::start();
    let outcome = send(&runtime, &plan, prepared, serve.disable_tqdm)?;
    let joules = meter.and_then(EnergyMeter::joules);
    console::print_result(outcome.result_block().trim_end_matches('\n'))?;
    let mut block = Block::measured(&outcome);
    block.energy =
        joules.and_then(|joules| Energy::new(joules, outcome.metrics.total_output_tokens));
    if let Some((bytes, device)) = bytes.zip(arguments.floor_on.as_ref()) {
        block = block.judged(&bytes, device);
    }
    console::print_result(&statement(&block))?;
    if let Some(result) = &plan.result {
        eprintln!("result written to {}", result.write(&outcome)?.display());
    }
    if let Some(path) = &arguments.save_records {
        save_records(path, &outcome)?;
    }
    judge(&outcome, serve.fail_on_error)
}

fn align(runtime: &Runtime, plan: &Plan, prepared: &mut Prepared) -> Result<()> {
    match runtime.block_on(align_prompts(&plan.run, &mut prepared.samples))? {
        Alignment::Equal => {}
        Alignment::Unknown => {
            eprintln!("note: the server does not tell how it tokenizes; prompts stay as they are");
        }
        Alignment::Cut(count) => {
            eprintln!("note: the server tokenizes otherwise than --tokenizer; {count} prompts cut");
        }
    }
    Ok(())
}

/// Sends everything; Ctrl-C ends it early.
pub(super) fn send(
    runtime: &Runtime,
    plan: &Plan,
    prepared: Prepared,
    quiet: bool,
) -> Result<BenchOutcome> {
    let Prepared { tokenizer, samples, arrivals } = prepared;
    let total = samples.len() as u64;
    let (stop, stopped) = watch::channel(false);
    let control = RunControl { progress: Arc::new(Progress::default()), stop: stopped };
    let meter = Meter::new();
    let outcome = runtime.block_on(async {
        let options = plan.run.clone();
        let run = measure(options, samples, &arrivals, Some(&tokenizer), &control, |event| {
            announce(plan, &event);
        });
        tokio::pin!(run);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                outcome = &mut run => break outcome,
                Ok(()) = tokio::signal::ctrl_c() => {
                    // The run holds the other end.
                    let _ = stop.send(true);
                }
                _ = tick.tick(), if !quiet => {
                    let progress = &control.progress;
                    let done = progress.completed() + progress.failed();
                    if progress.started() > 0 {
                        meter.requesting(done as u64, total);
                    }
                }
            }
        }
    });
    meter.clear();
    Ok(outcome?)
}

/// Says what begins, as vLLM's client does.
fn announce(plan: &Plan, event: &RunEvent) {
    let run = &plan.run;
    match event {
        RunEvent::WaitingForServer => eprintln!("Starting initial single prompt test run..."),
        RunEvent::NotReady(failure) => eprintln!("not ready: {}", failure.message),
        RunEvent::Ready => eprintln!("Initial test run completed."),
        RunEvent::WarmingUp(count) => eprintln!("Warming up with {count} requests..."),
        RunEvent::Started => {
            let settings = &run.settings;
            eprintln!("Starting main benchmark run...");
            match settings.ramp_up {
                Some(ramp) => eprintln!(
                    "Traffic ramp-up: {}, from {} to {} requests/s",
                    ramp.strategy.name(),
                    ramp.start_rps,
                    ramp.end_rps
                ),
                None => eprintln!(
                    "Traffic request rate: {}",
                    settings.request_rate.unwrap_or(f64::INFINITY)
                ),
            }
            let process = if settings.burstiness.total_cmp(&1.0).is_eq() {
                "Poisson process"
            } else {
                "Gamma distribution"
            };
            eprintln!("Burstiness factor: {:?} ({process})", settings.burstiness);
            let limit = settings.max_concurrency;
            let limit = limit.map_or("none".to_owned(), |limit| limit.to_string());
            eprintln!("Maximum request concurrency: {limit}");
        }
        _ => {}
    }
}

fn save_records(path: &Path, outcome: &BenchOutcome) -> Result<()> {
    let text = serde_json::to_string(outcome)?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("records written to {}", path.display());
    Ok(())
}

/// Tells failures by kind, and makes an error of them where they count as one.
fn judge(outcome: &BenchOutcome, fail_on_error: bool) -> Result<()> {
    let mut kinds: BTreeMap<FailureKind, (usize, &str)> = BTreeMap::new();
    for failure in outcome.requests.iter().filter_map(|record| record.failure.as_ref()) {
        kinds.entry(failure.kind).or_insert((0, &failure.message)).0 += 1;
    }
    for (kind, (count, message)) in &kinds {
        eprintln!("{count} requests failed ({}), the first with: {message}", kind.describe());
    }
    let metrics = &outcome.metrics;
    if outcome.interrupted {
        let sent = outcome.requests.len();
        let total = outcome.settings.num_prompts;
        bail!("interrupted after {sent} of {total} requests; the result is that of those");
    }
    if metrics.completed == 0 {
        bail!("no request was answered");
    }
    if fail_on_error && metrics.failed > 0 {
        bail!("{} of {} requests failed", metrics.failed, outcome.requests.len());
    }
    Ok(())
}
