//! Attention as a share of the machine: decode of the read bandwidth, prefill of the f32
//! multiply-add peak, both measured in the same run on the same threads.
//!
//! `cargo bench -p eitri-kernels --bench attention -- [threads]`

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    Context, ContextConfig, HeadShape, KV_BLOCK, KernelError, KvLayer, RopeScaling, RopeTable,
    ops::{QkvPrep, SequenceSpan, attention, attention_kernel_name, prepare_qkv},
};

type Result<T> = std::result::Result<T, KernelError>;

/// Best of many short runs of `f`, in seconds per call: a run of two milliseconds has a chance to
/// be left alone on a machine that does other things too.
fn best(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    f()?;
    let start = Instant::now();
    f()?;
    let calls = (0.002 / start.elapsed().as_secs_f64()).ceil().clamp(1.0, 1e5) as usize;
    let mut best = f64::INFINITY;
    let end = Instant::now() + Duration::from_millis(400);
    while best.is_infinite() || Instant::now() < end {
        let start = Instant::now();
        for _ in 0..calls {
            f()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
    }
    Ok(best)
}

/// Bytes per second that all threads together read from memory.
fn bandwidth(ctx: &Context) -> Result<f64> {
    let data = vec![1_u64; 8 << 20];
    let sum = AtomicU64::new(0);
    let seconds = best(|| {
        ctx.pool().for_ranges(data.len(), 1 << 16, |range| {
            let part = data[range].iter().fold(0_u64, |a, &b| a.wrapping_add(b));
            sum.fetch_add(part, Ordering::Relaxed);
        })
    })?;
    black_box(sum.into_inner());
    Ok((data.len() * 8) as f64 / seconds)
}

/// f32 multiply-adds per second of all threads together: twelve independent chains of vectors.
fn multiply_adds(ctx: &Context) -> Result<f64> {
    const ROUNDS: usize = 20_000;
    const CHAINS: usize = 12 * 8;
    let seconds = best(|| ctx.pool().run(&|_| chains(black_box(ROUNDS))))?;
    Ok((ROUNDS * CHAINS * ctx.pool().threads()) as f64 / seconds)
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calls by CPU feature")]
fn chains(rounds: usize) {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    #[target_feature(enable = "avx2,fma")]
    fn run(rounds: usize) {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [b; 12];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU has both.
        unsafe { run(rounds) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chains(rounds: usize) {
    let (a, b) = (black_box(0.999_f32), black_box(0.001_f32));
    let mut sums = [b; 12 * 8];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(a, b);
        }
    }
    black_box(sums);
}

/// Sequences, rows of each, and their context.
type Size = (usize, usize, usize);

/// Sequences of equal context whose last `len` tokens attend. One of several layers per call, so
/// that decode reads memory rather than caches.
fn run(ctx: &Context, kv: (HeadShape, DType), (batch, len, context): Size) -> Result<f64> {
    let (shape, dtype) = kv;
    let blocks = context.div_ceil(KV_BLOCK);
    let per_layer = KvLayer::bytes_per_block(&shape, dtype)? * blocks * batch;
    let layers = if len > 1 { 1 } else { (192_usize << 20).div_ceil(per_layer) };
    // Written once: untouched memory would be one shared page of zeros.
    let layers = (0..layers)
        .map(|_| {
            let kv = KvLayer::new(blocks * batch, KV_BLOCK, shape, dtype)?;
            for block in 1..blocks * batch {
                kv.copy_block(0, block, KV_BLOCK)?;
            }
            Ok(kv)
        })
        .collect::<Result<Vec<_>>>()?;
    // A stride coprime to any number of blocks in use scatters the sequences.
    let tables: Vec<u32> =
        (0..blocks * batch).map(|i| (i * 7919 % (blocks * batch)) as u32).collect();
    let spans: Vec<SequenceSpan> = (0..batch)
        .map(|s| SequenceSpan { row: s * len, len, context, table: s * blocks })
        .collect();
    let qkv = Tensor::randn(0.0_f32, 1.0, (batch * len, shape.qkv_width()), &Device::Cpu)?;
    let out = Tensor::zeros((batch * len, shape.heads * shape.head_dim), DType::F32, &Device::Cpu)?;
    let mut next = 0;
    best(|| {
        next = (next + 1) % layers.len();
        attention(ctx, 0.1, &qkv, &spans, &tables, &layers[next], &out)
    })
}

/// Rotates and writes the keys and values of `rows` tokens.
fn write(ctx: &Context, (shape, dtype): (HeadShape, DType), rows: usize) -> Result<f64> {
    let kv = KvLayer::new(rows.div_ceil(KV_BLOCK), KV_BLOCK, shape, dtype)?;
    let rope = RopeTable::new(shape.head_dim, rows, &RopeScaling::None, 1e6)?;
    let qkv = Tensor::randn(0.0_f32, 1.0, (rows, shape.qkv_width()), &Device::Cpu)?;
    let positions: Vec<u32> = (0..rows as u32).collect();
    let prep = QkvPrep {
        shape,
        q_norm: None,
        k_norm: None,
        eps: 1e-6,
        rope: &rope,
        positions: &positions,
        slots: &positions,
    };
    best(|| prepare_qkv(ctx, &prep, &qkv, rows, &kv))
}

fn main() -> Result<()> {
    let threads = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(2);
    let ctx = Context::new(&ContextConfig { threads, ..ContextConfig::default() })?;
    let (bandwidth, peak) = (bandwidth(&ctx)?, multiply_adds(&ctx)?);
    println!("{threads} threads");
    println!("read {:.1} GB/s, multiply-add {:.1} G/s", bandwidth / 1e9, peak / 1e9);
    for dtype in [DType::BF16, DType::F8E4M3] {
        println!("{}", attention_kernel_name(&ctx, dtype));
        for (name, shape) in [
            ("qwen3-0.6b", HeadShape { heads: 16, kv_heads: 8, head_dim: 128 }),
            ("smollm2-135m", HeadShape { heads: 9, kv_heads: 3, head_dim: 64 }),
        ] {
            measure(&ctx, name, (shape, dtype), bandwidth, peak)?;
        }
    }
    Ok(())
}

fn measure(
    ctx: &Context,
    name: &str,
    kv: (HeadShape, DType),
    bandwidth: f64,
    peak: f64,
) -> Result<()> {
    let (shape, dtype) = kv;
    let token_bytes = (shape.kv_heads * shape.head_dim * 2 * dtype.size_in_bytes()) as f64;
    for context in [512, 2048] {
        for batch in [1, 8] {
            let seconds = run(ctx, kv, (batch, 1, context))?;
            let rate = (context * batch) as f64 * token_bytes / seconds;
            println!(
                "{name} decode {context:4} x {batch}: {:7.1} us, {:5.1} GB/s, {:.2} of read",
                seconds * 1e6,
                rate / 1e9,
                rate / bandwidth
            );
        }
    }
    let seconds = write(ctx, kv, 512)?;
    println!("{name} write    512 tokens: {:7.1} us", seconds * 1e6);
    // Whole prompts, and the last chunk of one as a scheduler cuts it.
    for (len, context) in [(512, 512), (2048, 2048), (64, 512), (64, 2048)] {
        let seconds = run(ctx, kv, (1, len, context))?;
        let pairs = len * (context - len) + len * (len + 1) / 2;
        let rate = (2 * pairs * shape.heads * shape.head_dim) as f64 / seconds;
        println!(
            "{name} prefill {len:4} of {context:4}: {:7.2} ms, {:5.1} G/s, {:.2} of multiply-add",
            seconds * 1e3,
            rate / 1e9,
            rate / peak
        );
    }
    Ok(())
}
