//! Attention as a share of the machine: decode of the read bandwidth, prefill of the f32
//! multiply-add peak, both measured in the same run on the same threads.
//!
//! `cargo bench -p eitri-kernels --bench attention -- [threads]`

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use candle_core::DType;
use eitri_kernels::{
    Context, ContextConfig, HeadShape, KernelError,
    measure::{AttentionSize, Peaks, attention_seconds, write_seconds},
    ops::attention_kernel_name,
};

type Result<T> = std::result::Result<T, KernelError>;

fn main() -> Result<()> {
    let threads = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(2);
    let ctx = Context::new(&ContextConfig { threads, ..ContextConfig::default() })?;
    let peaks = Peaks::measure(ctx.pool())?;
    println!("{threads} threads; {peaks}");
    for dtype in [DType::BF16, DType::F8E4M3] {
        println!("{}", attention_kernel_name(&ctx, dtype));
        for (name, shape) in [
            ("qwen3-0.6b", HeadShape { heads: 16, kv_heads: 8, head_dim: 128 }),
            ("smollm2-135m", HeadShape { heads: 9, kv_heads: 3, head_dim: 64 }),
        ] {
            measure(&ctx, name, (shape, dtype), &peaks)?;
        }
    }
    Ok(())
}

fn measure(
    ctx: &Context,
    name: &str,
    (shape, dtype): (HeadShape, DType),
    peaks: &Peaks,
) -> Result<()> {
    let run = |batch, rows, context| {
        attention_seconds(ctx, shape, dtype, AttentionSize { batch, rows, context })
    };
    let token_bytes = (shape.kv_heads * shape.head_dim * 2 * dtype.size_in_bytes()) as f64;
    for context in [512, 2048] {
        for batch in [1, 8] {
            let seconds = run(batch, 1, context)?;
            let rate = (context * batch) as f64 * token_bytes / seconds;
            println!(
                "{name} decode {context:4} x {batch}: {:7.1} us, {:5.1} GB/s, {:.2} of read",
                seconds * 1e6,
                rate / 1e9,
                rate / 1e9 / peaks.read
            );
        }
    }
    let seconds = write_seconds(ctx, shape, dtype, 512)?;
    println!("{name} write    512 tokens: {:7.1} us", seconds * 1e6);
    // Whole prompts, and the last chunk of one as a scheduler cuts it.
    for (len, context) in [(512, 512), (2048, 2048), (64, 512), (64, 2048)] {
        let seconds = run(1, len, context)?;
        let pairs = len * (context - len) + len * (len + 1) / 2;
        let rate = (2 * pairs * shape.heads * shape.head_dim) as f64 / seconds;
        println!(
            "{name} prefill {len:4} of {context:4}: {:7.2} ms, {:5.1} G/s, {:.2} of multiply-add",
            seconds * 1e3,
            rate / 1e9,
            rate / 1e9 / peaks.f32
        );
    }
    Ok(())
}
