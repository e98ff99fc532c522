//! Matrix kernels as shares of what this machine can do, measured in the same run.
//!
//! `cargo bench -p eitri-kernels --bench linear [-- FORMAT ...]`: read bandwidth and multiplication
//! peaks of all threads, then each format on a set of matrices larger than the caches: one row
//! (bytes of weights per second) and 512 rows (multiply-adds per second).

#![allow(clippy::print_stdout, reason = "a table is its result")]

use std::thread;

use eitri_kernels::{
    Activations, Context, ContextConfig, KernelError, WeightFormat,
    measure::{LinearRates, Peaks, ReadBandwidth, linear_rates},
    ops::kernel_name,
};

fn main() -> Result<(), KernelError> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    println!("threads {threads}");
    for (n, k) in [(3072_usize, 1024_usize), (1536, 576)] {
        for activations in [Activations::Int8, Activations::Exact] {
            let config = ContextConfig { threads, activations, ..ContextConfig::default() };
            let ctx = Context::new(&config)?;
            let mut peaks = Peaks::measure(ctx.pool())?;
            let read = ReadBandwidth::default();
            let mut before = read.measure(ctx.pool())?;
            println!("\n[{n}, {k}], {activations:?} activations; {peaks}");
            println!(
                "{:17} {:38} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6} {:>6} {:>6}",
                "format",
                "kernel",
                "GB/s",
                "of",
                "share",
                "8: GMAC/s",
                "512:",
                "/f32",
                "/bf16",
                "/int8"
            );
            for format in WeightFormat::ALL {
                let selected =
                    wanted.is_empty() || wanted.iter().any(|w| format.name().contains(w));
                if selected && let Some(rates) = linear_rates(&ctx, format, n, k)? {
                    // Others read as well: what was left is taken before and after.
                    let after = read.measure(ctx.pool())?;
                    peaks.read = f64::midpoint(before, after);
                    before = after;
                    print(&ctx, &peaks, format, &rates);
                }
            }
        }
    }
    Ok(())
}

fn print(ctx: &Context, peaks: &Peaks, format: WeightFormat, rates: &LinearRates) {
    let LinearRates { one_row_gbps, eight_rows_gmacs, prefill_gmacs } = *rates;
    println!(
        "{:17} {:38} {one_row_gbps:6.1} {:6.1} {:6.2} {eight_rows_gmacs:9.0} {prefill_gmacs:6.0} {:6.2} \
         {:6.2} {:6.2}",
        format.name(),
        kernel_name(ctx, format),
        peaks.read,
        one_row_gbps / peaks.read,
        prefill_gmacs / peaks.f32,
        prefill_gmacs / peaks.bf16,
        prefill_gmacs / peaks.int8,
    );
}
