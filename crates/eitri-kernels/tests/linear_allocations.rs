//! After a first call, products, embeddings and mixture of experts allocate nothing of their own.

#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    Activations, Context, ContextConfig, Weight, WeightFormat,
    ops::{MoeBuffers, Routing, embed, linear, linear_rows, moe_experts, moe_route},
    reference::CanonicalRows,
};

struct Counting;

/// candle's in-place call sorts the tensor's strides in a vector of up to four pairs of words.
const CANDLE: usize = 64;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > CANDLE {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(p, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_after_the_first_step() {
    const ROWS: usize = 70;
    for activations in [Activations::Int8, Activations::Exact] {
        let config = ContextConfig { threads: 3, activations, ..ContextConfig::default() };
        let ctx = Context::new(&config).unwrap();
        for format in WeightFormat::ALL {
            let pack = |n, experts, seed| {
                let rows = CanonicalRows::random(format, n * experts, 256, seed).unwrap();
                Weight::pack(&ctx, format, n, 256, experts, &rows).unwrap()
            };
            let (table, square) = (pack(300, 1, 1), pack(256, 1, 2));
            let (gate_up, down) = (pack(512, 4, 3), pack(256, 4, 4));
            let zeros = |width| Tensor::zeros((ROWS, width), DType::F32, &Device::Cpu).unwrap();
            let (x, y, logits, scores) = (zeros(256), zeros(256), zeros(300), zeros(4));
            let buffers = MoeBuffers::new(ROWS, 2, 256, 256).unwrap();
            let mut routing = Routing::new(ROWS, 2, 4).unwrap();
            let ids: Vec<u32> = (0..ROWS as u32).collect();
            let mut step = |rows: usize| {
                embed(&ctx, &table, &ids[..rows], &x).unwrap();
                linear(&ctx, &square, &x, rows, &y, 0).unwrap();
                moe_route(&ctx, &scores, rows, true, &mut routing).unwrap();
                moe_experts(&ctx, &gate_up, &down, &x, rows, &routing, &buffers, &y).unwrap();
                linear_rows(&ctx, &table, &y, &ids[rows - 1..rows], &logits).unwrap();
            };
            step(ROWS);
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for rows in [1, ROWS, 7, 1] {
                step(rows);
            }
            let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
            assert_eq!(count, 0, "{activations:?} {format:?}");
        }
    }
}
