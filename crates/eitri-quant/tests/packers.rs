//! Quantised tensors of other projects: their packers' own dequantised values bit for bit, and slices
//! of real checkpoints with the outputs of vLLM. See `fixtures/README.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    Activations, Context, ContextConfig, ops,
    ops::{MoeBuffers, Routing},
    read,
};
use eitri_quant::{Checkpoint, Linear, Matrix, QuantizationConfig};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

const PACKERS: &[u8] = include_bytes!("fixtures/third_party_packers.safetensors");

/// The tensors of a file under other names, and its configuration.
fn checkpoint(file: &[u8], rename: impl Fn(&str) -> Option<String>, config: &Value) -> Checkpoint {
    let source = SafeTensors::deserialize(file).unwrap();
    let tensors: Vec<(String, TensorView<'_>)> =
        source.iter().filter_map(|(name, view)| Some((rename(name)?, view))).collect();
    let bytes = safetensors::serialize(tensors, None).unwrap();
    let config = json!({ "quantization_config": config });
    let config = QuantizationConfig::in_config("config.json", config.as_object().unwrap()).unwrap();
    Checkpoint::from_safetensors("m.safetensors", Box::leak(bytes.into_boxed_slice()))
        .unwrap()
        .with_quantization(config)
}

fn values(matrix: &Matrix<'_>) -> Vec<f32> {
    let mut values = vec![0.0; matrix.n() * matrix.k()];
    for (row, out) in values.chunks_exact_mut(matrix.k()).enumerate() {
        matrix.dequantise_row(row, out).unwrap();
    }
    values
}

fn floats(file: &[u8], name: &str) -> Vec<f32> {
    let source = SafeTensors::deserialize(file).unwrap();
    let view = source.tensor(name).unwrap();
    let halves = || view.data().as_chunks::<2>().0.iter().copied();
    match view.dtype() {
        Dtype::F32 => {
            view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        }
        Dtype::BF16 => halves().map(|bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
        _ => halves().map(|bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
    }
}

type Round = fn(f32) -> f32;
const F32: Round = |x| x;
const BF16: Round = |x| bf16::from_f32(x).to_f32();
const F16: Round = |x| f16::from_f32(x).to_f32();

/// Packed integers as compressed-tensors declares them.
fn packed(bits: usize, group: Option<usize>) -> Value {
    let weights = json!({"num_bits": bits, "type": "int", "symmetric": true, "group_size": group,
        "strategy": if group.is_some() { "group" } else { "channel" }, "block_structure": null});
    json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}})
}

fn gptq(bits: usize, group: i64, format: &str) -> Value {
    json!({"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": true,
        "checkpoint_format": format})
}

#[test]
fn packers_mean_what_they_say_bit_for_bit() {
    let awq = json!({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"});
    let fp8 = json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]});
    let tensors = json!({"quant_method": "compressed-tensors", "format": "float-quantized"});
    let nvfp4 = json!({"quant_method": "modelopt", "quant_algo": "NVFP4"});
    let cases: [(&str, Value, Round, &str); 19] = [
        ("ct_w4_g128", packed(4, Some(128)), BF16, "u4 g128 bf16"),
        ("ct_w4_g32", packed(4, Some(32)), BF16, "u4 g32 bf16"),
        ("ct_w4_g128_asym", packed(4, Some(128)), BF16, "u4+zero g128 bf16"),
        ("ct_w8_chan", packed(8, None), BF16, "i8 g128 bf16"),
        ("ct_w8_g32", packed(8, Some(32)), BF16, "i8 g32 bf16"),
        ("ct_w8a8", tensors.clone(), BF16, "i8 g128 bf16"),
        ("fp8b", fp8, F32, "e4m3 g128 f32"),
        ("ct_fp8_block", tensors.clone(), BF16, "e4m3 g128 bf16"),
        ("ct_fp8_chan", tensors.clone(), BF16, "e4m3 g128 bf16"),
        ("ct_fp8_tensor", tensors.clone(), BF16, "e4m3 g128 bf16"),
        ("gptq4_asym", gptq(4, 64, "gptq"), F16, "u4+zero g64 f16"),
        ("gptq4_g128", gptq(4, 128, "gptq"), F16, "u4 g128 f16"),
        ("gptq4_g32_act", gptq(4, 32, "gptq"), F16, "u4 g32"),
        ("gptq8_chan", gptq(8, -1, "gptq"), F16, "i8 g128 f16"),
        ("gptq8_g128", gptq(8, 128, "gptq"), F16, "i8 g128 f16"),
        ("awq", awq, F16, "u4+zero g128 f16"),
        ("mo", nvfp4, F32, "nvfp4"),
        ("ct_nvfp4", tensors.clone(), BF16, "nvfp4"),
        ("ct_mxfp4", tensors, F32, "mxfp4"),
    ];
    for (case, config, round, format) in cases {
        let keep = |name: &str| Some(name.to_owned());
        let checkpoint = checkpoint(PACKERS, keep, &config);
        check(&checkpoint, case, round, format);
    }
}

/// Version 2 stores the same zeros without the offset.
#[test]
fn gptq_of_version_2_means_the_same() {
    for (case, bits, group) in [
        ("gptq4_asym", 4, 64),
        ("gptq4_g128", 4, 128),
        ("gptq4_g32_act", 4, 32),
        ("gptq8_chan", 8, -1),
        ("gptq8_g128", 8, 128),
    ] {
        let second = |name: &str| {
            let name = name.strip_prefix(case)?;
            let renamed = name.strip_suffix("_v2").unwrap_or(name);
            (name != ".qzeros").then(|| format!("{case}{renamed}"))
        };
        let checkpoint = checkpoint(PACKERS, second, &gptq(bits, group, "gptq_v2"));
        let matrix = Matrix::open(&checkpoint, case).unwrap();
        compare(case, &values(&matrix), F16);
    }
}

fn check(checkpoint: &Checkpoint, case: &str, round: Round, format: &str) {
    let matrix = Matrix::open(checkpoint, case).unwrap();
    assert_eq!(matrix.format().name(), format, "{case}");
    compare(case, &values(&matrix), round);
}

/// Minus zero equals zero: packers keep or lose the sign of a value that rounds to nothing.
fn compare(case: &str, got: &[f32], round: Round) {
    let want = floats(PACKERS, &format!("{case}.deq"));
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let got = round(*got);
        let equal = got.to_bits() == want.to_bits() || (got == 0.0 && *want == 0.0);
        assert!(equal, "{case}: value {i} is {got:e}, not {want:e}");
    }
}

/// Output of the slice's input, through the kernels with f32 activations.
fn product(linear: &Linear, file: &[u8], k: usize) -> Vec<f32> {
    let activations = Activations::Exact;
    let ctx = Context::new(&ContextConfig { activations, ..ContextConfig::default() }).unwrap();
    let x = floats(file, "input");
    let rows = x.len() / k;
    let x = Tensor::from_vec(x, (rows, k), &Device::Cpu).unwrap();
    let y = Tensor::zeros((rows, linear.n()), DType::F32, &Device::Cpu).unwrap();
    linear.forward(&ctx, &x, rows, &y).unwrap();
    read::<f32, _>(&y, <[f32]>::to_vec).unwrap()
}

fn slice(file: &[u8], config: &Value, round: Round) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let named = |name: &str| Some(format!("m.{name}"));
    let checkpoint = checkpoint(file, named, config);
    let matrix = Matrix::open(&checkpoint, "m").unwrap();
    let (weights, k) = (values(&matrix), matrix.k());
    let ctx = Context::new(&ContextConfig::default()).unwrap();
    let linear = Linear::load(&ctx, vec![matrix]).unwrap();
    let x = floats(file, "input");
    let rounded: Vec<f32> = weights.iter().map(|&w| round(w)).collect();
    let dot = |x: &[f32], w: &[f32]| -> f64 {
        x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
    };
    let in_bf16 = x
        .chunks_exact(k)
        .flat_map(|x| rounded.chunks_exact(k).map(move |w| BF16(dot(x, w) as f32)));
    let in_bf16 = in_bf16.collect();
    (product(&linear, file, k), in_bf16, floats(file, "ref_output"))
}

/// The stored outputs of the two first are those of weights rounded to bf16, and all are rounded to it
/// themselves: with these roundings, which the engine does not do, every output is the same to the
/// bit; without them the difference is theirs.
#[test]
fn slices_of_real_checkpoints_give_the_stored_outputs() {
    let fp8 = json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]});
    let rows = json!({"quant_method": "compressed-tensors", "format": "float-quantized"});
    let slices: [(&[u8], Value, Round); 3] = [
        (include_bytes!("fixtures/fp8_linear.safetensors"), fp8, BF16),
        (
            include_bytes!("fixtures/compressed_tensors_linear_wna16.safetensors"),
            packed(4, Some(128)),
            BF16,
        ),
        (include_bytes!("fixtures/compressed_tensors_linear_w8a8fp8.safetensors"), rows, F32),
    ];
    for (file, config, round) in slices {
        let (got, in_bf16, want) = slice(file, &config, round);
        assert_eq!(in_bf16, want);
        let square = |x: f32| f64::from(x) * f64::from(x);
        let error: f64 = got.iter().zip(&want).map(|(got, want)| square(got - want)).sum();
        let norm: f64 = want.iter().map(|&want| square(want)).sum();
        assert!((error / norm).sqrt() < 2.5e-3, "{}", (error / norm).sqrt());
    }
}

#[test]
fn an_awq_slice_of_a_real_checkpoint_gives_the_stored_output() {
    let file = include_bytes!("fixtures/awq_linear.safetensors");
    let config = json!({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"});
    let (got, _, want) = slice(file, &config, F32);
    let off =
        got.iter().zip(&want).fold(0.0, |most: f32, (got, want)| most.max((got - want).abs()));
    assert!(off < 8e-6, "{off}");
}

/// Every expert of the recorded layer is the same, and so is the output of whichever are chosen. vLLM
/// multiplied in bf16, and rounded the inner activations to it.
#[test]
fn experts_of_a_real_checkpoint_give_the_stored_output() {
    const EXPERTS: usize = 4;
    let file = include_bytes!("fixtures/fused_moe_unquantized.safetensors");
    let renamed = |name: &str| Some(name.replace("_weight", ".weight"));
    let checkpoint = checkpoint(file, renamed, &Value::Null);
    let activations = Activations::Exact;
    let ctx = Context::new(&ContextConfig { activations, ..ContextConfig::default() }).unwrap();
    let stack = |module| {
        let copies = (0..EXPERTS).map(|_| Matrix::open(&checkpoint, module).unwrap());
        Linear::pack(&ctx, &Matrix::stack_experts(copies.collect()).unwrap()).unwrap()
    };
    let (gate_up, down) = (stack("w13"), stack("w2"));
    let (hidden, width) = (gate_up.k(), down.k());
    let x = floats(file, "hidden_states");
    let rows = x.len() / hidden;
    let logits: Vec<f32> = floats(file, "router_logits")
        .chunks_exact(128)
        .flat_map(|row| row[..EXPERTS].to_vec())
        .collect();
    let x = Tensor::from_vec(x, (rows, hidden), &Device::Cpu).unwrap();
    let logits = Tensor::from_vec(logits, (rows, EXPERTS), &Device::Cpu).unwrap();
    let mut routing = Routing::new(rows, 2, EXPERTS).unwrap();
    ops::moe_route(&ctx, &logits, rows, true, &mut routing).unwrap();
    let buffers = MoeBuffers::new(rows, 2, hidden, width).unwrap();
    let y = Tensor::zeros((rows, hidden), DType::F32, &Device::Cpu).unwrap();
    ops::moe_experts(&ctx, &gate_up, &down, &x, rows, &routing, &buffers, &y).unwrap();
    let got = read::<f32, _>(&y, <[f32]>::to_vec).unwrap();
    let want = floats(file, "ref_output");
    let off =
        got.iter().zip(&want).fold(0.0, |most: f32, (got, want)| most.max((got - want).abs()));
    assert!(off < 1e-3, "{off}");
}
