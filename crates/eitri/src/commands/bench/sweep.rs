//! `eitri bench sweep`.

use std::{fmt::Write, ops::ControlFlow, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use eitri::{Engine, QuantizeFormat, QuantizeOptions};
use eitri_bench::report::{Device, Routing};
use serde_json::{Value, json};

use super::{facts, in_process, write_json};
use crate::{
    cli::{SweepArgs, SweepFormat},
    console::{self, Meter},
};

/// One batch of a sweep.
struct Point {
    format: &'static str,
    batch: usize,
    input_len: usize,
    /// Mean time until a request's first token.
    first_ms: f64,
    /// Median time between tokens.
    step_ms: f64,
    /// Bytes that such a step reads.
    step_bytes: f64,
    /// Least time of a step; none where what it reads fits in the cache.
    floor_ms: Option<f64>,
}

pub(super) fn run(arguments: &SweepArgs) -> Result<()> {
    arguments.engine.fetch()?;
    let largest = arguments.batch_sizes.iter().copied().max().unwrap_or(1);
    let directory = tempfile::tempdir().context("no directory for quantised models")?;
    let mut points = Vec::new();
    let mut bandwidth = None;
    for &format in &arguments.formats {
        let mut builder = arguments.engine.builder()?.prefix_caching(false);
        if largest > 64 {
            builder = builder.max_num_seqs(largest);
        }
        if let SweepFormat::Quantized(target) = format {
            builder = builder.model(quantise(arguments, target, format.name(), &directory)?);
        }
        let planned = builder.plan()?;
        let threads = planned.threads();
        let device = match &bandwidth {
            Some(device) => device,
            None => &*bandwidth.insert(facts::this_device(threads)?.1),
        };
        let meter = Meter::new();
        let engine = planned.load(Some(&|progress| meter.loading(progress)));
        meter.clear();
        measure(&Arc::new(engine?), format.name(), device, arguments, &mut points)?;
    }
    let gbps = bandwidth.and_then(|device| Some(device.practical?.gbps)).unwrap_or_default();
    let json = json!({
        "read_gbps": gbps,
        "output_len": arguments.output_len,
        "points": points.iter().map(Point::to_json).collect::<Vec<_>>(),
    });
    write_json(arguments.output_json.as_deref(), &json)?;
    console::print_result(&table(&points, gbps)?)
}

/// The model in another format, in the sweep's own directory.
fn quantise(
    arguments: &SweepArgs,
    format: QuantizeFormat,
    name: &str,
    directory: &tempfile::TempDir,
) -> Result<PathBuf> {
    let ending = if matches!(format, QuantizeFormat::Gguf(_)) { ".gguf" } else { "" };
    let out = directory.path().join(format!("{name}{ending}"));
    let options = QuantizeOptions {
        format,
        out: out.clone(),
        overwrite: false,
        calibrate: None,
        revision: None,
        threads: None,
    };
    eitri::quantize(&arguments.engine.model(), &options, &mut |_| ControlFlow::Continue(()))
        .with_context(|| format!("--formats {name}"))?;
    Ok(out)
}

fn measure(
    engine: &Arc<Engine>,
    format: &'static str,
    device: &Device,
    arguments: &SweepArgs,
    points: &mut Vec<Point>,
) -> Result<()> {
    let bytes = facts::in_memory(engine.model_info(), engine.memory_plan().kv_dtype);
    for &input_len in &arguments.input_lens {
        for &batch in &arguments.batch_sizes {
            let mut best: Option<(f64, f64)> = None;
            for repetition in 0..arguments.repetitions {
                let prompts = in_process::prompts(engine, batch, input_len, repetition as u64);
                let times = in_process::run_batch(engine, prompts, arguments.output_len)?;
                let (first, step) = (times.first_ms().mean, times.gaps_ms().median);
                let (a, b) = best.unwrap_or((f64::INFINITY, f64::INFINITY));
                best = Some((a.min(first), b.min(step)));
            }
            let (first_ms, step_ms) = best.unwrap_or_default();
            let context = input_len as f64 + arguments.output_len as f64 / 2.0;
            let step_bytes = bytes.step(batch, context, Routing::Same);
            let floor_ms = device
                .practical
                .filter(|_| step_bytes > device.cache_bytes as f64)
                .map(|limits| step_bytes / limits.gbps / 1e6);
            points.push(Point {
                format,
                batch,
                input_len,
                first_ms,
                step_ms,
                step_bytes,
                floor_ms,
            });
        }
    }
    Ok(())
}

impl Point {
    fn to_json(&self) -> Value {
        json!({
            "format": self.format,
            "batch": self.batch,
            "input_len": self.input_len,
            "mean_first_token_ms": self.first_ms,
            "median_step_ms": self.step_ms,
            "decode_tokens_per_second": self.decode_rate(),
            "bytes_per_step": self.step_bytes,
            "floor_ms": self.floor_ms,
            "share_of_floor": self.floor_ms.map(|floor| floor / self.step_ms),
        })
    }

    fn decode_rate(&self) -> f64 {
        self.batch as f64 / self.step_ms * 1e3
    }
}

fn table(points: &[Point], gbps: f64) -> Result<String> {
    let mut text = format!(
        "read bandwidth of this machine, measured in this run: {gbps:.1} GB/s\n{:<12} {:>5} {:>7} \
         {:>13} {:>9} {:>9} {:>8} {:>9} {:>6}",
        "format", "batch", "prompt", "first token", "step", "tok/s", "GB/step", "floor", "share"
    );
    for point in points {
        let (floor, share) = match point.floor_ms {
            Some(floor) => (format!("{floor:.2}"), format!("{:.2}", floor / point.step_ms)),
            None => ("cached".to_owned(), "-".to_owned()),
        };
        write!(
            text,
            "\n{:<12} {:>5} {:>7} {:>10.2} ms {:>6.2} ms {:>9.1} {:>8.3} {floor:>9} {share:>6}",
            point.format,
            point.batch,
            point.input_len,
            point.first_ms,
            point.step_ms,
            point.decode_rate(),
            point.step_bytes / 1e9
        )?;
    }
    Ok(text)
}
