//! Matrix kernels as shares of what this machine can do, measured in the same run.
//!
//! `cargo bench -p eitri-kernels --bench linear [-- FORMAT ...]`: read bandwidth and multiplication
//! peaks of all threads, then each format on a set of matrices larger than the caches: one row
//! (bytes of weights per second) and 512 rows (multiply-adds per second).

#![allow(unsafe_code, reason = "peaks are measured with vector instructions")]
#![allow(clippy::print_stdout, reason = "a table is its result")]

#[path = "linear_peaks/mod.rs"]
mod peaks;

use std::{hint::black_box, thread, time::Instant};

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    Activations, Context, ContextConfig, KernelError, RowSource, Weight, WeightFormat,
    ops::{kernel_name, linear},
    reference::{CanonicalRows, Random},
};

/// Bytes of weights that are read in turn, so that no cache keeps them.
const SET_BYTES: usize = 256 << 20;
const PREFILL_ROWS: usize = 512;

/// The same few random rows again and again: kernels do not care, and making them is quick.
struct Repeated(CanonicalRows);

impl RowSource for Repeated {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        self.0.row(row % 16, out)
    }
}

fn main() -> Result<(), KernelError> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    println!("threads {threads}");
    for (n, k) in [(3072_usize, 1024_usize), (1536, 576)] {
        for activations in [Activations::Int8, Activations::Exact] {
            let config = ContextConfig { threads, activations, ..ContextConfig::default() };
            let ctx = Context::new(&config)?;
            let peaks = peaks::measure(ctx.pool())?;
            println!("\n[{n}, {k}], {activations:?} activations; {peaks}");
            println!(
                "{:12} {:34} {:>6} {:>6} {:>9} {:>6} {:>6} {:>6} {:>6}",
                "format",
                "kernel",
                "GB/s",
                "share",
                "8: GMAC/s",
                "512:",
                "/f32",
                "/i8i32",
                "/i8i16"
            );
            for format in WeightFormat::ALL {
                let selected =
                    wanted.is_empty() || wanted.iter().any(|w| format.name().contains(w));
                if selected && k.is_multiple_of(format.group()) {
                    measure(&ctx, &peaks, format, n, k)?;
                }
            }
        }
    }
    Ok(())
}

fn measure(
    ctx: &Context,
    peaks: &peaks::Peaks,
    format: WeightFormat,
    n: usize,
    k: usize,
) -> Result<(), KernelError> {
    let Some(rows) = CanonicalRows::random(format, 16, k, 1) else { return Ok(()) };
    let source = Repeated(rows);
    let count = SET_BYTES / Weight::packed_bytes(ctx.isa(), format, n, k, 1);
    let set = (0..count)
        .map(|_| Weight::pack(ctx, format, n, k, 1, &source))
        .collect::<Result<Vec<_>, _>>()?;
    let values = Random::new(3).values(PREFILL_ROWS * k);
    let x = Tensor::from_vec(values, (PREFILL_ROWS, k), &Device::Cpu)?;
    let y = Tensor::zeros((PREFILL_ROWS, n), DType::F32, &Device::Cpu)?;
    let pass = |rows: usize, matrices: usize| -> Result<f64, KernelError> {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            for w in &set[..matrices.min(count)] {
                linear(ctx, w, &x, rows, black_box(&y), 0)?;
            }
            best = best.min(start.elapsed().as_secs_f64() / matrices.min(count) as f64);
        }
        Ok(best)
    };
    let macs = (n * k) as f64 * 1e-9;
    let decode = set[0].bytes() as f64 * 1e-9 / pass(1, count)?;
    let eight = 8.0 * macs / pass(8, count / 2)?;
    let prefill = PREFILL_ROWS as f64 * macs / pass(PREFILL_ROWS, 8)?;
    println!(
        "{:12} {:34} {decode:6.1} {:6.2} {eight:9.0} {prefill:6.0} {:6.2} {:6.2} {:6.2}",
        format.name(),
        kernel_name(ctx, format),
        decode / peaks.read,
        prefill / peaks.f32,
        prefill / peaks.int8_i32,
        prefill / peaks.int8_i16,
    );
    Ok(())
}
