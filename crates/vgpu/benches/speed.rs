//! How fast the interpreter is: `cargo bench -p vgpu`, with `-- add`, `products`, `tiles` or
//! `exchange` for one kernel. Prints warp instructions per second of a
//! vector addition and of an exchange through shared memory, and FLOP per second of tensor
//! products, out of registers and out of shared memory, on one thread, with and without checks.
//! Seconds are those of the processor's time where Linux tells it, so that other programs on the
//! machine change little.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::{Duration, Instant};

use vgpu::{Checks, Config, Gpu, Kind, Launch, Module};

const ADD: &str = "
.version 9.0
.target sm_110a
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c)
{
    .reg .b32 %r<4>; .reg .f32 %f<4>; .reg .b64 %d<8>;
    ld.param.u64 %d1, [a]; ld.param.u64 %d2, [b]; ld.param.u64 %d3, [c];
    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %tid.x; mad.lo.s32 %r1, %r1, 256, %r2;
    mul.wide.s32 %d4, %r1, 4;
    add.s64 %d5, %d1, %d4; add.s64 %d6, %d2, %d4; add.s64 %d7, %d3, %d4;
    ld.global.f32 %f1, [%d5]; ld.global.f32 %f2, [%d6];
    add.f32 %f3, %f1, %f2; st.global.f32 [%d7], %f3;
    ret;
}
.visible .entry products(.param .u64 a, .param .u64 b, .param .u64 c)
{
    .reg .b32 %r<12>; .reg .f32 %f<4>; .reg .pred %p;
    mov.u32 %r1, 0x3f803f80; mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0;
    mov.f32 %f3, %f0; mov.u32 %r2, 0;
again:
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
        {%f0, %f1, %f2, %f3}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%f0, %f1, %f2, %f3};
    add.u32 %r2, %r2, 1; setp.lt.u32 %p, %r2, 256; @%p bra again;
    ret;
}
.visible .entry exchange(.param .u64 a, .param .u64 b, .param .u64 c)
{
    .shared .align 4 .b8 words[1024];
    .reg .b32 %r<8>; .reg .pred %p;
    mov.u32 %r1, %tid.x; mov.u32 %r2, words; shl.b32 %r3, %r1, 2; add.u32 %r4, %r2, %r3;
    xor.b32 %r3, %r3, 512; add.u32 %r5, %r2, %r3; mov.u32 %r6, 0;
again:
    st.shared.u32 [%r4], %r1; bar.sync 0; ld.shared.u32 %r1, [%r5]; bar.sync 0;
    add.u32 %r6, %r6, 1; setp.lt.u32 %p, %r6, 64; @%p bra again;
    ret;
}
.visible .entry tiles(.param .u64 a, .param .u64 b, .param .u64 c)
{
    .shared .align 16 .b8 words[2048];
    .reg .b32 %r<16>; .reg .f32 %f<4>; .reg .pred %p;
    mov.u32 %r1, %tid.x; mov.u32 %r2, words; shl.b32 %r3, %r1, 4; add.u32 %r4, %r2, %r3;
    mov.u32 %r5, 0x3f803f80; st.shared.v4.u32 [%r4], {%r5, %r5, %r5, %r5}; bar.sync 0;
    mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0; mov.u32 %r6, 0;
again:
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r7, %r8, %r9, %r10}, [%r4];
    ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r11, %r12}, [%r4];
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
        {%f0, %f1, %f2, %f3}, {%r7, %r8, %r9, %r10}, {%r11, %r12}, {%f0, %f1, %f2, %f3};
    add.u32 %r6, %r6, 1; setp.lt.u32 %p, %r6, 256; @%p bra again;
    ret;
}";

/// How long each kernel is launched again and again, so that the steps of a few milliseconds in
/// which Linux tells the time hardly count; and how many times, of which the best does.
const WINDOW: Duration = Duration::from_millis(300);
const WINDOWS: usize = 6;

/// Seconds that a launch takes.
fn seconds(
    checks: Checks,
    kernel: &str,
    blocks: u32,
    threads: u32,
) -> Result<f64, Box<dyn std::error::Error>> {
    let gpu = Gpu::new(Config { threads: 1, checks, ..Config::default() })?;
    let module = gpu.load(&Module::parse(ADD)?)?;
    let bytes = u64::from(blocks * 256) * 4;
    let mut buffer = Vec::new();
    for _ in 0..3 {
        let address = gpu.memory().alloc(bytes, 16, Kind::Device)?;
        gpu.memory().fill(address, &[0; 4], bytes / 4)?;
        buffer.extend(address.to_le_bytes());
    }
    let kernel = module.kernel(kernel)?;
    let launch = Launch::new([blocks, 1, 1], [threads, 1, 1]);
    gpu.launch(&kernel, &launch, &buffer)?;
    let mut best = f64::INFINITY;
    for _ in 0..WINDOWS {
        let (start, used, mut launches) = (Instant::now(), processor_seconds(), 0.0);
        while start.elapsed() < WINDOW {
            gpu.launch(&kernel, &launch, &buffer)?;
            launches += 1.0;
        }
        let elapsed = start.elapsed().as_secs_f64();
        let spent = used.zip(processor_seconds()).map_or(elapsed, |(from, to)| to - from);
        best = best.min(spent / launches);
    }
    Ok(best)
}

/// Time that this thread has run on a processor.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds / 1e9)
}

/// Whether a name on the command line asks for a kernel, or none is there.
fn is_wanted(kernel: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|name| !name.starts_with("--")).peekable();
    names.peek().is_none() || names.any(|name| name == kernel)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, checks) in
        [("none", Checks::NONE), ("default", Checks::default()), ("all", Checks::ALL)]
    {
        if is_wanted("add") {
            let (blocks, instructions) = (2000, 16.0);
            let spent = seconds(checks, "add", blocks, 256)?;
            let rate = f64::from(blocks) * 8.0 * instructions / spent;
            println!("checks {name}: vector add {:.1} M warp instructions/s", rate / 1e6);
        }
        if is_wanted("products") {
            let flops = 64.0 * 4.0 * 256.0 * 4096.0 / seconds(checks, "products", 64, 128)?;
            println!("checks {name}: mma.sync {:.1} GFLOP/s", flops / 1e9);
        }
        if is_wanted("tiles") {
            let flops = 64.0 * 4.0 * 256.0 * 4096.0 / seconds(checks, "tiles", 64, 128)?;
            println!("checks {name}: ldmatrix and mma.sync {:.1} GFLOP/s", flops / 1e9);
        }
        if is_wanted("exchange") {
            let instructions = 8.0 * (8.0 + 64.0 * 7.0);
            let rate = 64.0 * instructions / seconds(checks, "exchange", 64, 256)?;
            println!("checks {name}: shared exchange {:.1} M warp instructions/s", rate / 1e6);
        }
    }
    Ok(())
}
