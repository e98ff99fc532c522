//! `eitri bench kernel`.

use std::fmt::Write;

use anyhow::{Result, bail};
use eitri::{Activations, KvDtype};
use eitri_kernels::{
    Context, ContextConfig, HeadShape, WeightFormat,
    measure::{AttentionSize, Peaks, attention_seconds, linear_rates},
    ops::{attention_kernel_name, kernel_name},
};
use serde_json::{Value, json};

use super::in_process::threads;
use crate::{cli::KernelArgs, console};

/// Heads of Qwen3-0.6B and -1.7B; those of larger ones differ in the number of query heads.
const HEADS: HeadShape = HeadShape { heads: 16, kv_heads: 8, head_dim: 128 };
const CONTEXT: usize = 2048;

/// One operation: what it does per second, and what the machine could do at most.
struct Rate {
    operation: String,
    kernel: &'static str,
    unit: &'static str,
    per_second: f64,
    peak: f64,
}

pub(super) fn run(arguments: &KernelArgs) -> Result<()> {
    let threads = threads(arguments.threads);
    let [n, k] = arguments.shape;
    let mut rates = Vec::new();
    let mut all_peaks = None;
    for activations in [Activations::Int8, Activations::Exact] {
        let config = ContextConfig { threads, activations, ..ContextConfig::default() };
        let ctx = Context::new(&config)?;
        let peaks = match all_peaks {
            Some(peaks) => peaks,
            None => *all_peaks.insert(Peaks::measure(ctx.pool())?),
        };
        measure_linear(&ctx, activations, &peaks, arguments, &mut rates)?;
        if activations == Activations::Exact {
            measure_attention(&ctx, &peaks, arguments, &mut rates)?;
        }
    }
    let missing = |name: &&String| !rates.iter().any(|rate: &Rate| rate.operation.contains(*name));
    if let Some(name) = arguments.names.iter().find(missing) {
        let formats = WeightFormat::ALL.map(WeightFormat::name).join(", ");
        bail!(
            "{name} is not measured with matrices of {n}x{k}; operations are attention (bf16, fp8) and \
             linear (int8, exact) with the formats {formats}"
        );
    }
    let Some(peaks) = all_peaks else { bail!("no operation was measured") };
    let text = if arguments.json {
        let rates: Vec<Value> = rates.iter().map(Rate::to_json).collect();
        format!(
            "{:#}",
            json!({
                "threads": threads,
                "shape": [n, k],
                "read_gbps": peaks.read,
                "f32_gmacs": peaks.f32,
                "bf16_gmacs": peaks.bf16,
                "int8_gmacs": peaks.int8,
                "operations": rates,
            })
        )
    } else {
        format!("{threads} threads; {peaks}; matrices of {n}x{k}\n{}", table(&rates)?)
    };
    console::print_result(&text)
}

fn is_wanted(arguments: &KernelArgs, operation: &str) -> bool {
    arguments.names.is_empty() || arguments.names.iter().any(|name| operation.contains(name))
}

fn measure_linear(
    ctx: &Context,
    activations: Activations,
    peaks: &Peaks,
    arguments: &KernelArgs,
    rates: &mut Vec<Rate>,
) -> Result<()> {
    let [n, k] = arguments.shape;
    let name = match activations {
        Activations::Int8 => "int8",
        Activations::Exact => "exact",
    };
    for format in WeightFormat::ALL {
        let operation = format!("linear {} {name}", format.name());
        if !is_wanted(arguments, &operation) {
            continue;
        }
        let Some(measured) = linear_rates(ctx, format, n, k)? else { continue };
        let kernel = kernel_name(ctx, format);
        for (rows, unit, rate, peak) in [
            (1, "GB/s", measured.one_row_gbps, peaks.read),
            (8, "GMAC/s", measured.eight_rows_gmacs, peaks.of_kernel(kernel)),
            (512, "GMAC/s", measured.prefill_gmacs, peaks.of_kernel(kernel)),
        ] {
            let operation = format!("{operation}, rows {rows}");
            rates.push(Rate { operation, kernel, unit, per_second: rate, peak });
        }
    }
    Ok(())
}

fn measure_attention(
    ctx: &Context,
    peaks: &Peaks,
    arguments: &KernelArgs,
    rates: &mut Vec<Rate>,
) -> Result<()> {
    for kv in [KvDtype::Bf16, KvDtype::Fp8] {
        let dtype = kv.dtype();
        let kernel = attention_kernel_name(ctx, dtype);
        let bytes = (HEADS.kv_heads * HEADS.head_dim * 2 * kv.bytes() * CONTEXT) as f64;
        let pairs = (CONTEXT * (CONTEXT + 1) / 2 * 2 * HEADS.heads * HEADS.head_dim) as f64;
        for (what, batch, rows, unit, work, peak) in [
            ("decode, batch 1", 1, 1, "GB/s", bytes, peaks.read),
            ("decode, batch 8", 8, 1, "GB/s", 8.0 * bytes, peaks.read),
            ("prefill", 1, CONTEXT, "GMAC/s", pairs, peaks.f32),
        ] {
            let operation = format!("attention {} {what}", kv.name());
            if !is_wanted(arguments, &operation) {
                continue;
            }
            let size = AttentionSize { batch, rows, context: CONTEXT };
            let rate = work / attention_seconds(ctx, HEADS, dtype, size)? / 1e9;
            rates.push(Rate { operation, kernel, unit, per_second: rate, peak });
        }
    }
    Ok(())
}

impl Rate {
    /// None where the machine's peak is not known.
    fn share(&self) -> Option<f64> {
        (self.peak > 0.0).then(|| self.per_second / self.peak)
    }

    fn to_json(&self) -> Value {
        json!({
            "operation": self.operation,
            "kernel": self.kernel,
            "unit": self.unit,
            "rate": self.per_second,
            "peak": self.peak,
            "share": self.share(),
        })
    }
}

fn table(rates: &[Rate]) -> Result<String> {
    let mut text = format!("{:<40} {:<36} {:>16} {:>6}", "operation", "kernel", "rate", "share");
    for rate in rates {
        let share = rate.share().map_or("-".to_owned(), |share| format!("{share:.2}"));
        write!(
            text,
            "\n{:<40} {:<36} {:>9.1} {:<6} {share:>6}",
            rate.operation, rate.kernel, rate.per_second, rate.unit
        )?;
    }
    Ok(text)
}
