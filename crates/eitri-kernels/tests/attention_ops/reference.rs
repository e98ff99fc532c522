//! Attention against the naive softmax in f64.

use crate::world::{Chunk, DTYPES, World, context, contexts, cut, largest_difference, rng};
use candle_core::DType;
use eitri_kernels::{Context, ContextConfig, HeadShape, Isa, ops::attention_kernel_name, probe};
use rand::Rng;

/// Outputs are averages of values below 1.5; scores are sums of up to 128 products in f32.
const TOLERANCE: f32 = 1e-5;

fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> HeadShape {
    HeadShape { heads, kv_heads, head_dim }
}

#[test]
fn whole_prompts_match_for_every_head_dim_group_and_type() {
    let ctx = context(2);
    for (seed, (heads, kv_heads, head_dim)) in [
        (2, 2, 64),
        (2, 1, 128),
        (9, 3, 64),
        (4, 1, 96),
        (8, 1, 128),
        (3, 1, 72),
        (2, 2, 8),
        (16, 2, 256),
        (7, 1, 80),
    ]
    .into_iter()
    .enumerate()
    {
        for dtype in DTYPES {
            let tokens = rng(seed as u64).random_range(20..150);
            let world = World::new(seed as u64, shape(heads, kv_heads, head_dim), dtype, &[tokens]);
            let difference = largest_difference(&world.whole(&ctx, 0), &world.expected(0));
            assert!(difference <= TOLERANCE, "{:?} {dtype:?}: {difference}", world.shape);
        }
    }
}

#[test]
fn every_context_length_around_block_and_run_borders_matches() {
    let (ctx, world) = (context(1), World::new(5, shape(2, 1, 64), DType::F32, &[200]));
    let expected = world.expected(0);
    let width = 128;
    for position in 0..200 {
        let chunk = Chunk { sequence: 0, start: position, end: position + 1 };
        let out = world.step(&ctx, &[chunk]).remove(0);
        let difference =
            largest_difference(&out, &expected[position * width..(position + 1) * width]);
        assert!(difference <= TOLERANCE, "position {position}: {difference}");
    }
}

#[test]
fn a_long_context_and_a_mixed_batch_match() {
    let ctx = context(2);
    let world = World::new(7, shape(4, 2, 64), DType::BF16, &[700, 1, 33, 130]);
    let expected: Vec<Vec<f32>> = (0..4).map(|s| world.expected(s)).collect();
    let width = 4 * 64;
    // Prompts up to here, then one call with a long chunk, a first token, a chunk and a decode.
    for (sequence, end) in [(0, 500), (2, 20), (3, 129)] {
        world.step(&ctx, &[Chunk { sequence, start: 0, end }]);
    }
    let chunks = [(0, 500, 700), (1, 0, 1), (2, 20, 33), (3, 129, 130)]
        .map(|(sequence, start, end)| Chunk { sequence, start, end });
    for (chunk, out) in chunks.iter().zip(world.step(&ctx, &chunks)) {
        let expected = &expected[chunk.sequence][chunk.start * width..chunk.end * width];
        let difference = largest_difference(&out, expected);
        assert!(difference <= TOLERANCE, "{chunk:?}: {difference}");
    }
}

#[test]
fn scores_far_apart_neither_overflow_nor_lose_the_greatest() {
    let ctx = context(1);
    let mut world = World::new(9, shape(1, 1, 64), DType::F32, &[90]);
    world.scale = 40.0;
    let difference = largest_difference(&world.whole(&ctx, 0), &world.expected(0));
    // The scores themselves reach 10^3, where f32 resolves 10^-4.
    assert!(difference <= 1e-3, "{difference}");
}

#[test]
fn every_instruction_set_matches_whole_and_in_chunks() {
    let contexts = contexts();
    assert_eq!(contexts[0].isa(), Isa::Scalar);
    for ctx in &contexts {
        for dtype in DTYPES {
            for (heads, kv_heads) in [(6, 2), (5, 1), (2, 2)] {
                let world = World::new(3, shape(heads, kv_heads, 64), dtype, &[150]);
                let difference = largest_difference(&world.whole(ctx, 0), &world.expected(0));
                assert!(difference <= TOLERANCE, "{:?} {dtype:?}: {difference}", ctx.isa());
                let chunks = cut(&mut rng(1), 0, 150);
                let pieces: Vec<f32> =
                    chunks.iter().flat_map(|&chunk| world.step(ctx, &[chunk]).remove(0)).collect();
                let whole = world.whole(ctx, 0);
                assert_eq!(crate::world::bits(&pieces), crate::world::bits(&whole));
            }
        }
    }
}

#[test]
fn the_start_up_probe_covers_attention_over_all_types() {
    for ctx in contexts() {
        let reports = probe(&ctx).unwrap();
        for dtype in DTYPES {
            let kernel = attention_kernel_name(&ctx, dtype);
            assert!(reports.iter().any(|report| report.kernel == kernel), "{kernel}");
        }
    }
}

#[test]
fn instructions_that_the_cpu_lacks_are_refused() {
    let foreign = if cfg!(target_arch = "x86_64") { Isa::NeonDot } else { Isa::Avx2 };
    let config = ContextConfig { isa: Some(foreign), ..ContextConfig::default() };
    let message = Context::new(&config).unwrap_err().to_string();
    assert!(message.contains("instructions on this CPU"), "{message}");
}
