//! A step of the operations allocates nothing once its buffers have grown.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "a global allocator that counts")]

#[allow(dead_code, reason = "needs a part of it")]
#[path = "attention_ops/world.rs"]
mod world;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    HeadShape, KV_BLOCK, KvLayer,
    ops::{QkvPrep, SequenceSpan, add, add_rms_norm, attention, prepare_qkv, rms_norm, silu_mul},
};
use world::{context, random, rng, still, tensor, zeros};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The tensor library lists the axes of a tensor, four at most, whenever one is written in place.
const AXES: usize = 4 * size_of::<(usize, usize)>();

// SAFETY: passes every call on to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > AXES {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing_after_the_first() {
    let shape = HeadShape { heads: 4, kv_heads: 2, head_dim: 64 };
    let (ctx, rope) = (context(2), still(64));
    let (rows, width) = (67, 256);
    let kv = KvLayer::new(9, KV_BLOCK, shape, DType::BF16).unwrap();
    let mut rng = rng(1);
    let qkv = tensor(rows, shape.qkv_width(), random(&mut rng, rows * shape.qkv_width()));
    let (hidden, out) = (tensor(rows, width, random(&mut rng, rows * width)), zeros(rows, width));
    let (weight, half) =
        (Tensor::ones(width, DType::F32, &Device::Cpu).unwrap(), zeros(rows, width / 2));
    let normed = zeros(rows, width);
    let (positions, slots) = (vec![0; rows], (0..rows as u32).collect::<Vec<_>>());
    let tables = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    // A chunk of a prompt and three sequences that decode.
    let span = |row, len, context, table| SequenceSpan { row, len, context, table };
    let spans = [span(0, 64, 80, 0), span(64, 1, 16, 5), span(65, 1, 40, 6), span(66, 1, 1, 8)];
    let step = |spans: &[SequenceSpan], rows: usize| {
        let prep = QkvPrep {
            shape,
            q_norm: None,
            k_norm: None,
            eps: 1e-6,
            rope: &rope,
            positions: &positions[..rows],
            slots: &slots[..rows],
        };
        rms_norm(&ctx, &hidden, &weight, 1e-6, rows, &out).unwrap();
        prepare_qkv(&ctx, &prep, &qkv, rows, &kv).unwrap();
        attention(&ctx, 0.125, &qkv, spans, &tables, &kv, &out).unwrap();
        add_rms_norm(&ctx, &hidden, &out, &weight, 1e-6, rows, &normed).unwrap();
        silu_mul(&ctx, &hidden, rows, &half).unwrap();
        add(&ctx, &hidden, &out, rows).unwrap();
    };
    step(&spans, rows);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..3 {
        step(&spans, rows);
        step(&spans[..1], 64);
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
