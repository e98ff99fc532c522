//! Quantised Hugging Face directories of every format against the values they mean, through
//! candle-transformers in f32.

use eitri_kernels::{Activations, Isa};
use eitri_models::ModelFiles;
use rand::{SeedableRng, rngs::StdRng};

use crate::support::{
    harness::{BF16_LARGEST, BF16_RELATIVE, Harness, compare, random_tokens, rounds_to_bf16},
    oracle,
    packed::{PackedModel, Packing},
    tiny::{Experts, Shape, Width},
};

/// One for each row of published checkpoints, and their neighbours.
const PACKINGS: [Packing; 21] = [
    Packing::Fp8Blocks(Width::Bf16),
    Packing::Fp8Blocks(Width::F16),
    Packing::Fp8Blocks(Width::F32),
    Packing::Fp8Rows,
    Packing::Fp8Tensor,
    Packing::Packed(4, 128, false),
    Packing::Packed(4, 128, true),
    Packing::Packed(4, 64, true),
    Packing::Packed(4, 32, false),
    Packing::Packed(4, 0, false),
    Packing::Packed(8, 0, false),
    Packing::Packed(8, 32, false),
    Packing::Packed(8, 128, true),
    Packing::Int8,
    Packing::Gptq(4, 128, false, false, false),
    Packing::Gptq(4, 64, true, false, true),
    Packing::Gptq(4, 0, false, true, false),
    Packing::Gptq(8, 128, false, false, true),
    Packing::Gptq(8, 32, true, true, false),
    Packing::Awq(128),
    Packing::Awq(32),
];

const FP4: [Packing; 3] = [Packing::Nvfp4(true), Packing::Nvfp4(false), Packing::Mxfp4];

/// The tolerance of weight-only formats: sums in f32 in another order.
const EXACT: f32 = 2e-4;
/// As for GGUF: see `quantised.rs`.
const INT8_RELATIVE: f64 = 0.02;
const INT8_LARGEST: f32 = 0.15;
/// On AVX2 8-bit weights meet activations of 16 bits, whose steps are 258 times finer; plain kernels
/// do not round them.
const INT16_LARGEST: f32 = EXACT + INT8_LARGEST / 258.0;

fn dense() -> Shape {
    Shape { hidden: 256, heads: 8, head_dim: 32, intermediate: 384, tied: false, ..Shape::qwen3() }
}

fn sparse() -> Shape {
    let shape = Shape::qwen3_moe(true);
    let moe = shape.moe.map(|moe| Experts { intermediate: 128, ..moe });
    Shape { moe, hidden: 256, heads: 8, head_dim: 32, ..shape }
}

fn write(shape: &Shape, seed: u64, packing: Packing) -> (tempfile::TempDir, PackedModel) {
    let model = PackedModel::new(&shape.build(seed), packing);
    let directory = tempfile::tempdir().unwrap();
    model.write(directory.path());
    (directory, model)
}

/// Largest and relative difference from the meant values; prompts in chunks must agree to the bit.
fn difference(shape: &Shape, packing: Packing, activations: Activations) -> (f32, f64) {
    let (directory, model) = write(shape, 31, packing);
    let mut harness = Harness::open(directory.path(), activations, 2).unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let prompts = [70, 9].map(|len| random_tokens(len, 256, &mut rng));
    let whole: Vec<_> = prompts.iter().map(|prompt| harness.prompt(prompt)).collect();
    let chunked = harness.prompts_in_chunks(&prompts, &mut rng);
    assert!(chunked == whole, "{packing:?}: logits depend on how prompts are cut or batched");
    let want = oracle::logits(&model.meant, &prompts[0]);
    let tolerance = if activations == Activations::Exact { EXACT } else { INT8_LARGEST };
    let (largest, _) = compare(&whole[0], &want, tolerance);
    let square = |x: f32| f64::from(x) * f64::from(x);
    let pairs = || whole[0].iter().flatten().zip(want.iter().flatten());
    let error: f64 = pairs().map(|(got, want)| square(got - want)).sum();
    (largest, (error / pairs().map(|(_, want)| square(*want)).sum::<f64>()).sqrt())
}

#[test]
fn every_format_equals_its_values_in_exact_mode() {
    for packing in PACKINGS.into_iter().chain(FP4) {
        let (off, _) = difference(&dense(), packing, Activations::Exact);
        assert!(off < EXACT, "{packing:?}: off by {off}");
    }
}

#[test]
fn every_format_is_near_its_values_with_integer_activations() {
    for packing in PACKINGS.into_iter().chain(FP4) {
        let (off, relative) = difference(&dense(), packing, Activations::Int8);
        let (limit, limit_of_all) = match packing {
            Packing::Packed(4, ..)
            | Packing::Gptq(4, ..)
            | Packing::Awq(_)
            | Packing::Nvfp4(_)
            | Packing::Mxfp4 => (INT8_LARGEST, INT8_RELATIVE),
            Packing::Packed(..) | Packing::Gptq(..) | Packing::Int8
                if matches!(Isa::detect(), Isa::Avx2 | Isa::Scalar) =>
            {
                (INT16_LARGEST, INT8_RELATIVE / 258.0)
            }
            Packing::Packed(..) | Packing::Gptq(..) | Packing::Int8 => {
                (INT8_LARGEST, INT8_RELATIVE)
            }
            // E4M3, and the head of every model, which is in bf16.
            _ if rounds_to_bf16() => (BF16_LARGEST, BF16_RELATIVE),
            _ => (EXACT, 1e-5),
        };
        assert!(off < limit, "{packing:?}: off by {off}");
        assert!(relative < limit_of_all, "{packing:?}: off by {relative} of the logits");
    }
}

#[test]
fn experts_that_are_stored_apart_are_stacked() {
    for packing in [
        Packing::Fp8Blocks(Width::Bf16),
        Packing::Fp8Rows,
        Packing::Packed(8, 32, false),
        Packing::Packed(4, 32, true),
        Packing::Packed(4, 128, false),
        Packing::Gptq(4, 128, false, false, false),
        Packing::Awq(64),
        Packing::Nvfp4(true),
        Packing::Mxfp4,
    ] {
        let (off, _) = difference(&sparse(), packing, Activations::Exact);
        assert!(off < EXACT, "{packing:?}: off by {off}");
    }
}

/// Rows and columns that do not fill the last block.
#[test]
fn blocks_at_the_edge_are_smaller() {
    let shape = Shape { intermediate: 320, ..dense() };
    for packing in [Packing::Fp8Blocks(Width::F32), Packing::Packed(4, 128, true)] {
        let (off, _) = difference(&shape, packing, Activations::Exact);
        assert!(off < EXACT, "{packing:?}: off by {off}");
    }
}

/// Codes keep their width; scales of 16 bits for 32 k are the most that comes on top.
#[test]
fn memory_is_what_the_file_has_and_a_few_per_cent() {
    let shape = Shape { layers: 1, ..dense() };
    for (packing, most) in [
        (Packing::Fp8Blocks(Width::Bf16), 1.02),
        (Packing::Packed(4, 128, false), 1.01),
        (Packing::Packed(4, 128, true), 1.02),
        (Packing::Packed(4, 32, false), 1.01),
        (Packing::Packed(8, 0, false), 1.03),
        (Packing::Gptq(4, 128, false, false, false), 1.01),
        (Packing::Awq(128), 1.02),
        (Packing::Nvfp4(true), 1.04),
        (Packing::Mxfp4, 1.07),
    ] {
        let (directory, _) = write(&shape, 5, packing);
        let plan = ModelFiles::open(directory.path()).unwrap().weight_plan(Isa::detect()).unwrap();
        let rows = plan.rows.iter().filter(|row| row.kind.starts_with("feed-forward"));
        let (mut file, mut memory) = (0, 0);
        for row in rows {
            file += row.file_bytes;
            memory += row.memory_bytes;
        }
        let share = memory as f64 / file as f64;
        assert!(share < most, "{packing:?}: {share} of the file's bytes");
    }
}

/// Queries, keys and values share one product, even where `desc_act` gives them an order of inputs.
#[test]
fn neighbours_with_the_same_format_are_packed_together() {
    for packing in [Packing::Fp8Blocks(Width::Bf16), Packing::Gptq(4, 64, true, false, true)] {
        let (directory, _) = write(&dense(), 6, packing);
        let plan = ModelFiles::open(directory.path()).unwrap().weight_plan(Isa::detect()).unwrap();
        let qkv: Vec<_> = plan.rows.iter().filter(|row| row.kind == "attention q,k,v").collect();
        assert_eq!(qkv.len(), 1, "{packing:?}");
        assert_eq!((qkv[0].n, qkv[0].count), (256 + 2 * 64, 2), "{packing:?}");
    }
}
