//! `eitri bench latency`.

use std::{fmt::Write, sync::Arc};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{in_process, write_json};
use crate::{cli::LatencyArgs, console};

const PERCENTILES: [f64; 6] = [10.0, 25.0, 50.0, 75.0, 90.0, 99.0];

pub(super) fn run(arguments: &LatencyArgs) -> Result<()> {
    let LatencyArgs { input_len, output_len, batch_size, num_iters_warmup, num_iters, .. } =
        *arguments;
    let engine = Arc::new(in_process::load(&arguments.engine, batch_size)?);
    let mut batches = Vec::with_capacity(num_iters);
    for iteration in 0..num_iters_warmup + num_iters {
        let prompts = in_process::prompts(&engine, batch_size, input_len, iteration as u64);
        let batch = in_process::run_batch(&engine, prompts, output_len)?;
        if iteration >= num_iters_warmup {
            batches.push(batch);
        }
    }
    let mut latencies: Vec<f64> = batches.iter().map(in_process::BatchTimes::total).collect();
    let average = latencies.iter().sum::<f64>() / latencies.len() as f64;
    let in_order = latencies.clone();
    latencies.sort_by(f64::total_cmp);
    let mut text = format!("Avg latency: {average} seconds\n");
    let mut percentiles = Map::new();
    for percent in PERCENTILES {
        let value = eitri_bench::percentile(&latencies, percent);
        writeln!(text, "{percent}% percentile latency: {value} seconds")?;
        percentiles.insert(percent.to_string(), Value::from(value));
    }
    let fastest = batches.iter().min_by(|a, b| a.total().total_cmp(&b.total()));
    if let Some(batch) = fastest {
        let (first, gaps) = (batch.first_ms(), batch.gaps_ms());
        writeln!(
            text,
            "Fastest batch: first tokens after {:.2} ms (mean), then {:.2} ms a step (median)",
            first.mean, gaps.median
        )?;
    }
    let result = json!({
        "avg_latency": average,
        "latencies": in_order,
        "percentiles": percentiles,
    });
    write_json(arguments.output_json.as_deref(), &result)?;
    console::print_result(text.trim_end())
}
