//! GGUF files of every type against the values they mean, through candle-transformers in f32.

use std::path::PathBuf;

use eitri_kernels::{Activations, Isa};
use eitri_models::{ModelFiles, TokenizerSource};
use rand::{SeedableRng, rngs::StdRng};

use crate::support::{
    blocks::Block,
    gguf,
    harness::{BF16_RELATIVE, Harness, compare, random_tokens, rounds_to_bf16},
    oracle,
    tiny::{Shape, Tiny},
};

/// Rows long enough for blocks of 256.
fn wide(shape: Shape) -> Shape {
    let moe = shape.moe.map(|moe| crate::support::tiny::Experts { intermediate: 256, ..moe });
    Shape { hidden: 256, heads: 8, head_dim: 32, intermediate: 512, moe, ..shape }
}

fn write(shape: &Shape, seed: u64, block: Block) -> (tempfile::TempDir, PathBuf, Tiny) {
    write_mixed(shape, seed, |_| block)
}

fn write_mixed(
    shape: &Shape,
    seed: u64,
    block: impl Fn(&str) -> Block,
) -> (tempfile::TempDir, PathBuf, Tiny) {
    let (bytes, meant) = gguf::mixed_model(shape, &shape.build(seed), block);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    (directory, path, meant)
}

/// The largest difference, and the root mean square of all relative to that of the logits.
fn difference(path: &std::path::Path, activations: Activations, meant: &Tiny) -> (f32, f64) {
    let mut harness = Harness::open(path, activations, 2).unwrap();
    let tokens = random_tokens(70, 256, &mut StdRng::seed_from_u64(3));
    let (got, want) = (harness.prompt(&tokens), oracle::logits(meant, &tokens));
    let tolerance = if activations == Activations::Exact { EXACT } else { INT8_LARGEST };
    let (largest, _) = compare(&got, &want, tolerance);
    let square = |x: f32| f64::from(x) * f64::from(x);
    let pairs = || got.iter().flatten().zip(want.iter().flatten());
    let error: f64 = pairs().map(|(got, want)| square(got - want)).sum();
    (largest, (error / pairs().map(|(_, want)| square(*want)).sum::<f64>()).sqrt())
}

const EXACT: f32 = 2e-4;

/// An activation rounded to 8 bits is off by up to 1/254 of the largest of its 32 neighbours, some
/// 2.2 standard deviations: 0.5 % in the mean. Eight such products follow each other in two layers
/// and the head, and their errors add as squares: 1.5 %, and more as gates and norms pass them on. With
/// random weights it is 1.8 to 2.0 % for every type, whatever its own precision.
const INT8_RELATIVE: f64 = 0.022;
/// The largest of 18,000 normal errors is four to five times their mean; logits are near one.
const INT8_LARGEST: f32 = 0.15;

#[test]
fn every_type_equals_its_values_in_exact_mode() {
    for block in Block::ALL {
        let (_directory, path, meant) = write(&wide(Shape::qwen3()), 20, block);
        let (off, _) = difference(&path, Activations::Exact, &meant);
        assert!(off < EXACT, "{block:?}: off by {off}");
    }
}

#[test]
fn every_type_is_near_its_values_with_8_bit_activations() {
    for block in Block::ALL {
        let (_directory, path, meant) = write(&wide(Shape::qwen3()), 21, block);
        let (off, relative) = difference(&path, Activations::Int8, &meant);
        assert!(relative < INT8_RELATIVE, "{block:?}: off by {relative} of the logits");
        assert!(off < INT8_LARGEST, "{block:?}: off by {off}");
        if matches!(block, Block::Bf16) && rounds_to_bf16() {
            assert!(relative < BF16_RELATIVE, "{block:?}: off by {relative} of the logits");
            continue;
        }
        let exact = matches!(block, Block::F32 | Block::F16 | Block::Bf16);
        assert!(!exact || off < EXACT, "{block:?} has no integer path, yet is off by {off}");
    }
}

#[test]
fn llama_rows_are_put_back_for_rotation_by_halves() {
    for block in [Block::F32, Block::Q4_1] {
        let (_directory, path, meant) = write(&wide(Shape::llama()), 22, block);
        let (off, _) = difference(&path, Activations::Exact, &meant);
        assert!(off < EXACT, "{block:?}: off by {off}");
    }
}

#[test]
fn experts_in_three_dimensions() {
    for block in
        [Block::Bf16, Block::Q8_0, Block::Q5_0, Block::Q3K, Block::Q4K, Block::Q6K, Block::Mxfp4]
    {
        let (_directory, path, meant) = write(&wide(Shape::qwen3_moe(true)), 23, block);
        let (off, _) = difference(&path, Activations::Exact, &meant);
        assert!(off < EXACT, "{block:?}: off by {off}");
    }
}

/// As llama.cpp mixes types: values and the second feed-forward matrix of some layers in `Q6_K`.
fn k_m(base: Block) -> impl Fn(&str) -> Block {
    move |name| {
        let finer = ["blk.1.attn_v.", "blk.1.ffn_down", "output.weight"];
        if finer.iter().any(|part| name.starts_with(part)) { Block::Q6K } else { base }
    }
}

#[test]
fn mixtures_of_types_within_a_layer() {
    for base in [Block::Q4K, Block::Q5K] {
        for shape in [Shape::qwen3(), Shape::qwen3_moe(true)] {
            let (_directory, path, meant) = write_mixed(&wide(shape), 27, k_m(base));
            let (off, _) = difference(&path, Activations::Exact, &meant);
            assert!(off < EXACT, "{base:?}: off by {off}");
        }
    }
    let (_directory, path, _) = write_mixed(&wide(Shape::qwen3()), 27, k_m(Block::Q4K));
    let plan = ModelFiles::open(&path).unwrap().weight_plan(Isa::detect()).unwrap();
    let of = |kind: &str| -> Vec<_> {
        let rows = plan.rows.iter().filter(|row| row.kind == kind);
        rows.map(|row| (row.stored, row.count, row.n)).collect()
    };
    // 8 query heads, 2 heads of keys and of values, all of 32.
    let kv = wide(Shape::qwen3()).kv_heads * 32;
    let expected = [("Q4_K", 1, 256 + 2 * kv), ("Q4_K", 1, 256 + kv), ("Q6_K", 1, kv)];
    assert_eq!(of("attention q,k,v"), expected);
    assert_eq!(of("feed-forward down"), [("Q4_K", 1, 256), ("Q6_K", 1, 256)]);
}

/// The plan is what loading packs, row by row.
#[test]
fn the_plan_states_formats_and_bytes() {
    let (_directory, path, _) = write(&wide(Shape::qwen3_moe(true)), 24, Block::Q8_0);
    let plan = ModelFiles::open(&path).unwrap().weight_plan(Isa::detect()).unwrap();
    let kinds: Vec<_> = plan.rows.iter().map(|row| (row.kind, row.stored, row.count)).collect();
    let expected = [
        ("embedding", "Q8_0", 1),
        ("output", "Q8_0", 1),
        ("attention q,k,v", "Q8_0", 2),
        ("attention output", "Q8_0", 2),
        ("router", "F32", 2),
        ("experts gate,up", "Q8_0", 2),
        ("experts down", "Q8_0", 2),
    ];
    assert_eq!(kinds, expected);
    // Codes and scales have the same size in the file and in memory, but for alignment.
    let experts = &plan.rows[5];
    assert_eq!(experts.file_bytes, 2 * 6 * 512 * 256 * 34 / 32);
    assert!(experts.memory_bytes >= experts.file_bytes);
    assert!(experts.memory_bytes < experts.file_bytes + 10_000);
    // Two of six experts are read.
    assert!(experts.bytes_per_step(1).abs_diff(experts.memory_bytes / 3) <= 1);
    assert!(plan.bytes_per_step(1) < plan.memory_bytes());
}

#[test]
fn tokenizer_and_end_tokens_come_from_metadata() {
    let (_directory, path, _) = write(&wide(Shape::qwen3()), 25, Block::F32);
    let files = ModelFiles::open(&path).unwrap();
    assert_eq!(files.name(), "tiny");
    assert_eq!(files.generation().eos_token_ids, [2]);
    let TokenizerSource::Gguf(tokenizer) = files.tokenizer() else { panic!("not GGUF") };
    assert_eq!((tokenizer.model.as_str(), tokenizer.eos), ("gpt2", Some(2)));
    assert_eq!(tokenizer.tokens, ["a", "b"]);
}

#[test]
fn a_directory_with_one_gguf_file_is_a_model() {
    let (directory, ..) = write(&wide(Shape::qwen3()), 26, Block::F32);
    assert_eq!(ModelFiles::open(directory.path()).unwrap().name(), "tiny");
    std::fs::copy(directory.path().join("tiny.gguf"), directory.path().join("b.gguf")).unwrap();
    let error = ModelFiles::open(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("it has 2 .gguf files; give the path of one"), "{error}");
}
