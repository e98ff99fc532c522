//! FP8 keys and values, with the scales of checkpoints.

use candle_core::{DType, Device, Tensor};
use eitri_kernels::Activations;
use eitri_models::ModelFiles;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::support::{
    harness::{Harness, compare, random_tokens},
    oracle,
    plain::{self, Place},
    tiny::{Shape, Tiny, Values, Width},
};

/// Sums in f32 in another order, as for dense checkpoints.
const EXACT: f32 = 2e-4;
/// On top of that a key or value that such a difference moves over a rounding border, by an eighth
/// of itself at most, one among some thousand.
const TOLERANCE: f32 = 1e-3;
/// What FP8, or other scales, change at least: far from the tolerance.
const CLEAR: f32 = 10.0 * TOLERANCE;

const KV_HEADS: usize = 2;

/// The E4M3 number nearest to `x / scale`, times `scale`, by the `float8` crate. It does not saturate.
fn round(x: f32, scale: f32) -> f32 {
    let quotient = Tensor::new((x / scale).clamp(-448.0, 448.0), &Device::Cpu).unwrap();
    let rounded = quotient.to_dtype(DType::F8E4M3).unwrap().to_dtype(DType::F32).unwrap();
    rounded.to_scalar::<f32>().unwrap() * scale
}

/// Scales of keys and of values of each layer and head.
type Scales = [[[f32; KV_HEADS]; 2]; 2];

const ONES: Scales = [[[1.0; KV_HEADS]; 2]; 2];

fn insert(tiny: &mut Tiny, name: &str, shape: &[usize], data: &[f32]) {
    let name = format!("model.layers.{name}");
    tiny.tensors.insert(name, Values { shape: shape.to_vec(), data: data.to_vec() });
}

fn open(tiny: &Tiny) -> Harness {
    let directory = tempfile::tempdir().unwrap();
    tiny.write(directory.path(), Width::F32);
    Harness::open(directory.path(), Activations::Int8, 2).unwrap().with_fp8_kv()
}

/// Compares with keys and values rounded by these scales, and with what they must differ from.
fn check(tiny: &Tiny, scales: &Scales, what: &str) {
    let mut harness = open(tiny);
    let mut rng = StdRng::seed_from_u64(5);
    let prompts = [90, 7, 33].map(|len| random_tokens(len, 256, &mut rng));
    let whole: Vec<_> = prompts.iter().map(|prompt| harness.prompt(prompt)).collect();
    let chunked = harness.prompts_in_chunks(&prompts, &mut rng);
    assert!(chunked == whole, "{what}: logits depend on how prompts are cut or batched");
    let with = |scales: &Scales, prompt: &[u32]| {
        let store =
            |Place { layer, head, value }, x| round(x, scales[layer][usize::from(value)][head]);
        plain::logits(tiny, prompt, &store)
    };
    for (got, prompt) in whole.iter().zip(&prompts) {
        let (off, _) = compare(got, &with(scales, prompt), TOLERANCE);
        assert!(off < TOLERANCE, "{what}: off by {off}");
    }
    let (off, _) = compare(&whole[0], &oracle::logits(tiny, &prompts[0]), f32::INFINITY);
    assert!(off > CLEAR, "{what}: {off} from what is not rounded");
    if *scales != ONES {
        let (off, _) = compare(&whole[0], &with(&ONES, &prompts[0]), f32::INFINITY);
        assert!(off > CLEAR, "{what}: {off} from scales of 1");
    }
}

#[test]
fn the_plain_model_without_rounding_is_that_of_candle_transformers() {
    for shape in [Shape::qwen3(), Shape { tied: false, ..Shape::llama() }] {
        let tiny = shape.build(21);
        let tokens = random_tokens(80, 256, &mut StdRng::seed_from_u64(1));
        let got = plain::logits(&tiny, &tokens, &|_, x| x);
        let (off, clear) = compare(&got, &oracle::logits(&tiny, &tokens), EXACT);
        assert!(off < EXACT && clear > 0.9, "{}: off by {off}", shape.architecture);
    }
}

#[test]
fn keys_and_values_are_rounded_to_the_nearest() {
    check(&Shape::qwen3().build(22), &ONES, "qwen3");
    check(&Shape::llama().build(23), &ONES, "llama");
}

#[test]
fn scales_of_the_checkpoint_are_used_whatever_they_are_called() {
    // One for all heads of a layer; none is a power of two, which would change next to nothing.
    let scales = [[[0.013; 2], [0.0071; 2]], [[0.31; 2], [0.0033; 2]]];
    for (keys, values) in [
        ("k_scale", "v_scale"),
        ("k_proj.k_scale", "v_proj.v_scale"),
        ("attn.k_scale", "attn.v_scale"),
        ("k_proj.output_scale", "v_proj.output_scale"),
    ] {
        for shape in [&[][..], &[1]] {
            let mut tiny = Shape::qwen3().build(24);
            for (layer, [of_keys, of_values]) in scales.iter().enumerate() {
                let name = |name| format!("{layer}.self_attn.{name}");
                insert(&mut tiny, &name(keys), shape, &of_keys[..1]);
                insert(&mut tiny, &name(values), shape, &of_values[..1]);
            }
            check(&tiny, &scales, keys);
        }
    }
    let mut tiny = Shape::qwen3().build(25);
    insert(&mut tiny, "0.self_attn.kv_scale", &[], &[0.013]);
    check(&tiny, &[[[0.013; 2]; 2], [[1.0; 2]; 2]], "kv_scale of the first layer only");
}

#[test]
fn each_head_may_have_scales_of_its_own() {
    let scales = [[[0.013, 0.9], [0.0071, 0.05]], [[0.31, 0.011], [0.0033, 0.7]]];
    for shape in [&[2][..], &[2, 1, 1]] {
        let mut tiny = Shape::qwen3().build(26);
        for (layer, [of_keys, of_values]) in scales.iter().enumerate() {
            let name = |name| format!("{layer}.self_attn.{name}_scale");
            insert(&mut tiny, &name("k"), shape, of_keys);
            insert(&mut tiny, &name("v"), shape, of_values);
        }
        check(&tiny, &scales, "per head");
    }
}

/// Keys beyond 448 scales are cut there.
#[test]
fn what_is_too_large_saturates() {
    let mut tiny = Shape::qwen3().build(27);
    for layer in 0..2 {
        insert(&mut tiny, &format!("{layer}.self_attn.k_scale"), &[], &[0.0017]);
    }
    check(&tiny, &[[[0.0017; 2], [1.0; 2]]; 2], "small scales");
}

#[test]
fn scales_that_cannot_be_are_refused_by_name() {
    for (shape, data, message) in [
        (&[3][..], &[1.0; 3][..], "must have 1 or 2 values, got shape [3]"),
        (&[0], &[], "must have 1 or 2 values, got shape [0]"),
        (&[], &[0.0], "has a scale of 0; scales must be above 0"),
        (&[2], &[0.5, -1.0], "has a scale of -1; scales must be above 0"),
        (&[], &[f32::NAN], "has values that are not finite"),
    ] {
        let mut tiny = Shape::qwen3().build(28);
        insert(&mut tiny, "1.self_attn.v_proj.v_scale", shape, data);
        let directory = tempfile::tempdir().unwrap();
        tiny.write(directory.path(), Width::F32);
        let error = Harness::open(directory.path(), Activations::Int8, 1).err().unwrap();
        let place = "model.safetensors: tensor model.layers.1.self_attn.v_proj.v_scale ";
        assert_eq!(error.to_string().split(" (").next().unwrap(), format!("{place}{message}"));
    }
}

fn declares(config: Value, file: Option<&str>) -> bool {
    let mut tiny = Shape::qwen3().build(29);
    let directory = tempfile::tempdir().unwrap();
    match file {
        Some(file) => {
            std::fs::write(directory.path().join(file), config.to_string()).unwrap();
        }
        None => tiny.config["quantization_config"] = config,
    }
    tiny.write(directory.path(), Width::F32);
    ModelFiles::open(directory.path()).unwrap().declares_fp8_kv_cache()
}

#[test]
fn an_fp8_cache_is_declared_in_the_ways_of_the_producers() {
    let scheme = |kind: &str, bits: u32| {
        json!({"num_bits": bits, "type": kind, "strategy": "tensor", "dynamic": false,
            "symmetric": true})
    };
    let compressed = |scheme: Value| {
        json!({"quant_method": "compressed-tensors", "format": "float-quantized",
            "config_groups": {}, "kv_cache_scheme": scheme})
    };
    assert!(declares(compressed(scheme("float", 8)), None));
    assert!(!declares(compressed(Value::Null), None));
    assert!(!declares(compressed(scheme("int", 8)), None));
    assert!(!declares(compressed(scheme("float", 4)), None));
    let modelopt = |key: &str, value: Value| json!({"quant_method": "modelopt", "quant_algo": "NVFP4", key: value});
    assert!(declares(modelopt("kv_cache_scheme", scheme("float", 8)), None));
    assert!(declares(modelopt("kv_cache_quant_algo", json!("FP8")), None));
    assert!(!declares(modelopt("kv_cache_quant_algo", json!("NVFP4")), None));
    assert!(!declares(modelopt("kv_cache_quant_algo", Value::Null), None));
    let side = |algorithm: &str| {
        json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4",
            "kv_cache_quant_algo": algorithm, "group_size": 16}})
    };
    assert!(declares(side("FP8"), Some("hf_quant_config.json")));
    assert!(!declares(side("NVFP4"), Some("hf_quant_config.json")));
    assert!(!declares(json!({"quant_method": "fp8"}), None));
}
