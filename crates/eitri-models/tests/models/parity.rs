//! Dense checkpoints: logits of candle-transformers at every position, however prompts are cut.

use eitri_kernels::Activations;
use rand::{SeedableRng, rngs::StdRng};

use crate::support::{
    harness::{Batch, Harness, argmax, compare, random_tokens},
    oracle,
    tiny::{Experts, Shape, Tiny, Width},
};

const TOLERANCE: f32 = 2e-4;
const LENGTHS: [usize; 6] = [1, 2, 17, 64, 333, 600];

fn harness(tiny: &Tiny, width: Width) -> Harness {
    let directory = tempfile::tempdir().unwrap();
    tiny.write(directory.path(), width);
    // Only bf16 weights may meet rounded activations.
    let activations = match width {
        Width::Bf16 => Activations::Exact,
        _ => Activations::Int8,
    };
    Harness::open(directory.path(), activations, 2).unwrap()
}

/// Whole prompts, then all of them cut at random and mixed into common steps.
fn check(tiny: &Tiny, oracle_model: &Tiny, width: Width) {
    let mut harness = harness(tiny, width);
    let vocab = harness.model.config().vocab_size;
    let mut rng = StdRng::seed_from_u64(9);
    let prompts: Vec<Vec<u32>> =
        LENGTHS.iter().map(|&len| random_tokens(len, vocab, &mut rng)).collect();
    let want: Vec<_> = prompts.iter().map(|prompt| oracle::logits(oracle_model, prompt)).collect();
    let whole: Vec<_> = prompts.iter().map(|prompt| harness.prompt(prompt)).collect();
    for (got, want) in whole.iter().zip(&want) {
        let (difference, clear) = compare(got, want, TOLERANCE);
        assert!(difference < TOLERANCE, "{} tokens: off by {difference}", got.len());
        assert!(clear > 0.9, "the test model is too undecided: {clear}");
    }
    let chunked = harness.prompts_in_chunks(&prompts, &mut rng);
    assert!(chunked == whole, "logits depend on how prompts are cut or batched");
}

#[test]
fn qwen3_with_tied_embeddings() {
    let tiny = Shape::qwen3().build(1);
    check(&tiny, &tiny, Width::F32);
}

#[test]
fn qwen3_untied_with_wide_heads() {
    let shape = Shape { tied: false, head_dim: 32, kv_heads: 1, ..Shape::qwen3() };
    let tiny = shape.build(2);
    check(&tiny, &tiny, Width::F32);
}

#[test]
fn qwen3_in_bf16_and_f16() {
    for width in [Width::Bf16, Width::F16] {
        let tiny = Shape { tied: false, ..Shape::qwen3() }.build(3);
        check(&tiny, &tiny.rounded(width), width);
    }
}

#[test]
fn qwen3_moe_with_and_without_normalised_weights() {
    for norm_topk_prob in [true, false] {
        let tiny = Shape::qwen3_moe(norm_topk_prob).build(4);
        check(&tiny, &tiny, Width::F32);
    }
}

/// candle knows only `decoder_sparse_step`; the same layers by `mlp_only_layers` are ours alone.
#[test]
fn qwen3_moe_with_a_dense_layer_in_between() {
    let by_step = |step, mlp_only_layers: Vec<usize>| {
        let shape = Shape { layers: 4, ..Shape::qwen3_moe(true) };
        let moe = shape.moe.clone().unwrap();
        let moe = Experts { decoder_sparse_step: step, mlp_only_layers, ..moe };
        Shape { moe: Some(moe), ..shape }.build(5)
    };
    let by_sparse_step = by_step(2, vec![]);
    check(&by_sparse_step, &by_sparse_step, Width::F32);
    check(&by_step(1, vec![0, 2]), &by_sparse_step, Width::F32);
}

#[test]
fn llama_tied_and_untied() {
    for tied in [true, false] {
        let tiny = Shape { tied, ..Shape::llama() }.build(6);
        check(&tiny, &tiny, Width::F32);
    }
}

#[test]
fn llama3_rope_scaling() {
    let mut tiny = Shape::llama().build(7);
    tiny.config["rope_scaling"] = serde_json::json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    check(&tiny, &tiny, Width::F32);
}

#[test]
fn greedy_tokens_equal_those_of_the_oracle() {
    for shape in [Shape::qwen3(), Shape::qwen3_moe(true), Shape::llama()] {
        let tiny = shape.build(8);
        let mut tokens = vec![5, 6, 7];
        let got = harness(&tiny, Width::F32).greedy(&tokens, 40);
        for _ in 0..40 {
            tokens.push(argmax(oracle::logits(&tiny, &tokens).last().unwrap()) as u32);
        }
        assert_eq!(got, tokens[3..], "{}", shape.architecture);
    }
}

/// Rows that are left out when time runs out do not change those that stay, nor what comes later.
#[test]
fn a_batch_that_is_cut_short_keeps_its_first_rows_to_the_bit() {
    for shape in [Shape::qwen3(), Shape::qwen3_moe(true), Shape::llama()] {
        let mut harness = harness(&shape.build(12), Width::F32);
        let mut rng = StdRng::seed_from_u64(3);
        let vocab = harness.model.config().vocab_size;
        let prompts = [40, 70].map(|len| random_tokens(len, vocab, &mut rng));
        let tables: [Vec<u32>; 2] = [(0..3).collect(), (3..8).collect()];
        let batch = |from: [usize; 2], least_rows| {
            let mut batch = Batch { least_rows, ..Batch::default() };
            for (at, (prompt, table)) in prompts.iter().zip(&tables).enumerate() {
                if from[at] < prompt.len() {
                    batch.add(prompt, from[at], prompt.len() - from[at], table);
                }
            }
            batch
        };
        let whole = harness.step(&batch([0, 0], None)).unwrap();
        for kept in [1, 39, 40, 41, 109] {
            let first = harness.step(&batch([0, 0], Some(kept))).unwrap();
            assert!(first == whole[..kept], "{} rows of {}", kept, shape.architecture);
            let rest = [kept.min(40), kept.saturating_sub(40)];
            let rest = harness.step(&batch(rest, None)).unwrap();
            assert!(rest == whole[kept..], "after {} rows of {}", kept, shape.architecture);
        }
    }
}

#[test]
fn shards_give_the_same_logits_as_one_file() {
    let tiny = Shape::qwen3().build(10);
    let directory = tempfile::tempdir().unwrap();
    tiny.write_sharded(directory.path(), Width::Bf16, 3);
    let mut sharded = Harness::open(directory.path(), Activations::Exact, 1).unwrap();
    let tokens: Vec<u32> = (0..50).collect();
    assert_eq!(sharded.prompt(&tokens), harness(&tiny, Width::Bf16).prompt(&tokens));
}

#[test]
fn experts_in_one_tensor_give_the_same_logits_as_in_many() {
    let tiny = Shape::qwen3_moe(true).build(11);
    let mut fused = tiny.clone();
    for layer in 0..2 {
        let name = |expert: usize, part: &str| {
            format!("model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight")
        };
        let (mut gate_up, mut down) = (Vec::new(), Vec::new());
        for expert in 0..6 {
            gate_up.extend(fused.tensors.remove(&name(expert, "gate")).unwrap().data);
            gate_up.extend(fused.tensors.remove(&name(expert, "up")).unwrap().data);
            down.extend(fused.tensors.remove(&name(expert, "down")).unwrap().data);
        }
        let mut insert = |part: &str, shape, data| {
            let name = format!("model.layers.{layer}.mlp.experts.{part}_proj");
            fused.tensors.insert(name, crate::support::tiny::Values { shape, data });
        };
        insert("gate_up", vec![6, 64, 64], gate_up);
        insert("down", vec![6, 64, 32], down);
    }
    let tokens: Vec<u32> = (0..50).collect();
    let got = harness(&fused, Width::F32).prompt(&tokens);
    assert_eq!(got, harness(&tiny, Width::F32).prompt(&tokens));
}
