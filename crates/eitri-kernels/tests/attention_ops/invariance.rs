//! Attention gives the same bits however a sequence is cut, batched, threaded and placed.

use crate::world::{Chunk, DTYPES, World, bits, context, cut, rng};
use candle_core::DType;
use eitri_kernels::{HeadShape, KV_BLOCK};
use rand::Rng;

const SHAPES: [HeadShape; 4] = [
    HeadShape { heads: 4, kv_heads: 2, head_dim: 128 },
    HeadShape { heads: 9, kv_heads: 3, head_dim: 64 },
    HeadShape { heads: 8, kv_heads: 1, head_dim: 96 },
    HeadShape { heads: 2, kv_heads: 2, head_dim: 64 },
];

#[test]
fn one_call_equals_token_by_token_equals_random_chunks_on_any_number_of_threads() {
    let contexts = [context(1), context(2), context(3)];
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for dtype in DTYPES {
            let mut rng = rng(seed as u64);
            let tokens = rng.random_range(150..330);
            let world = World::new(seed as u64, shape, dtype, &[tokens]);
            let whole = bits(&world.whole(&contexts[0], 0));
            for ctx in &contexts {
                assert_eq!(bits(&world.whole(ctx, 0)), whole, "{shape:?} {dtype:?} {ctx:?}");
                let single: Vec<f32> = (0..tokens)
                    .flat_map(|start| {
                        let chunk = Chunk { sequence: 0, start, end: start + 1 };
                        world.step(ctx, &[chunk]).remove(0)
                    })
                    .collect();
                assert_eq!(bits(&single), whole, "{shape:?} {dtype:?} {ctx:?} singly");
                let pieces: Vec<f32> = cut(&mut rng, 0, tokens)
                    .into_iter()
                    .flat_map(|chunk| world.step(ctx, &[chunk]).remove(0))
                    .collect();
                assert_eq!(bits(&pieces), whole, "{shape:?} {dtype:?} {ctx:?} in chunks");
            }
        }
    }
}

#[test]
fn company_in_the_batch_changes_nothing() {
    let types = [DType::BF16, DType::F8E4M3];
    for (seed, (shape, dtype)) in
        SHAPES.into_iter().flat_map(|shape| types.map(|dtype| (shape, dtype))).enumerate()
    {
        let tokens = [190, 3, 77, 401, 16, 65];
        let world = World::new(seed as u64 + 10, shape, dtype, &tokens);
        let (alone, together) = (context(1), context(2));
        let wholes: Vec<Vec<f32>> = (0..tokens.len()).map(|s| world.whole(&alone, s)).collect();
        let mut rng = rng(seed as u64);
        let mut queues: Vec<_> =
            tokens.iter().enumerate().map(|(s, &t)| cut(&mut rng, s, t).into_iter()).collect();
        let mut outputs = vec![vec![]; tokens.len()];
        loop {
            let chunks: Vec<Chunk> = queues.iter_mut().filter_map(Iterator::next).collect();
            if chunks.is_empty() {
                break;
            }
            for (chunk, out) in chunks.iter().zip(world.step(&together, &chunks)) {
                outputs[chunk.sequence].extend(out);
            }
        }
        for (output, whole) in outputs.iter().zip(&wholes) {
            assert_eq!(bits(output), bits(whole), "{shape:?} {dtype:?}");
        }
    }
}

#[test]
fn nan_in_slots_that_no_query_may_see_has_no_influence() {
    for dtype in DTYPES {
        for shape in SHAPES {
            let (ctx, tokens) = (context(2), 150);
            let clean = World::new(4, shape, dtype, &[tokens]);
            let poisoned = World::new(4, shape, dtype, &[tokens]);
            poisoned.poison(&ctx);
            for chunk in cut(&mut rng(8), 0, tokens) {
                let expected = bits(&clean.step(&ctx, &[chunk]).remove(0));
                let got = poisoned.step(&ctx, &[chunk]).remove(0);
                assert!(got.iter().all(|x| x.is_finite()));
                assert_eq!(bits(&got), expected, "{shape:?} {dtype:?} {chunk:?}");
            }
        }
    }
}

#[test]
fn a_copied_block_serves_in_place_of_the_original() {
    for dtype in DTYPES {
        for shape in SHAPES {
            let ctx = context(1);
            // The second sequence only lends its last block: 40 tokens use half of theirs.
            let mut world = World::new(6, shape, dtype, &[40, 16]);
            world.poison(&ctx);
            let whole = world.whole(&ctx, 0);
            let (from, to) = (world.sequences[0].table[2], world.sequences[1].table[0]);
            world.kv.copy_block(from as usize, to as usize, 40 % KV_BLOCK).unwrap();
            world.sequences[0].table[2] = to;
            let width = shape.heads * shape.head_dim;
            // The last token again: it writes its own slot and reads seven copied ones.
            let last = world.step(&ctx, &[Chunk { sequence: 0, start: 39, end: 40 }]).remove(0);
            assert_eq!(bits(&last), bits(&whole[39 * width..]), "{shape:?} {dtype:?}");
        }
    }
}
