//! `eitri inspect --dequantize` of files that other programs made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use eitri_tests::{run, workspace};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

/// Values by name of tensor.
type Tensors = BTreeMap<String, Vec<f32>>;

fn fixture(name: &str) -> PathBuf {
    workspace().join("crates/eitri-quant/tests/fixtures").join(name)
}

fn values(view: &TensorView<'_>) -> Vec<f32> {
    let halves = || view.data().as_chunks::<2>().0.iter().copied();
    match view.dtype() {
        Dtype::F32 => {
            view.data().as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
        }
        Dtype::BF16 => halves().map(|value| bf16::from_le_bytes(value).to_f32()).collect(),
        Dtype::F16 => halves().map(|value| f16::from_le_bytes(value).to_f32()).collect(),
        _ => Vec::new(),
    }
}

fn read(file: &Path) -> Tensors {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), values(&view))).collect()
}

/// What the program makes of a file.
pub(crate) fn dequantize(file: &Path, dtype: &str) -> Tensors {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("plain.safetensors");
    let paths = [file.to_str().unwrap(), out.to_str().unwrap()];
    let line = ["inspect", "--dequantize", paths[0], "--out", paths[1], "--dtype", dtype];
    let (code, _, error) = run(&line).unwrap();
    assert_eq!(code, Some(0), "{}: {error}", file.display());
    read(&out)
}

/// The type in which the packer of a case multiplied.
fn round_as(case: &str, value: f32) -> f32 {
    match case {
        "ct_mxfp4" | "mo" | "fp8b" => value,
        _ if case.starts_with("ct_") => bf16::from_f32(value).to_f32(),
        _ => f16::from_f32(value).to_f32(),
    }
}

/// Packers keep or lose the sign of a value that rounds to zero.
fn assert_case(case: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{case}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let got = round_as(case, *got);
        let is_same = got.to_bits() == want.to_bits() || got == 0.0 && *want == 0.0;
        assert!(is_same, "{case}: value {i} is {got:e}, not {want:e}");
    }
}

/// All in one file that has no configuration: the tensors tell.
#[test]
fn every_packers_values_bit_for_bit() {
    let file = fixture("third_party_packers.safetensors");
    let (original, got) = (read(&file), dequantize(&file, "f32"));
    let cases: Vec<&str> = original.keys().filter_map(|name| name.strip_suffix(".deq")).collect();
    assert_eq!(cases.len(), 19);
    for case in cases {
        assert_case(case, &got[&format!("{case}.weight")], &original[&format!("{case}.deq")]);
    }
    assert_eq!(got["W"], original["W"]);
    let codes = ["qweight", "qzeros", "scales", "g_idx", "packed", "shape", "scale", "point"];
    let is_codes = |name: &&String| codes.iter().any(|end| name.ends_with(end));
    assert_eq!(got.keys().find(is_codes), None);
}

/// One module alone, its tensors named without it, with its configuration beside it.
fn module(folder: &Path, case: &str, config: &Value) -> PathBuf {
    let bytes = fs::read(fixture("third_party_packers.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let parts = tensors.iter().filter_map(|(name, view)| {
        let part = name.strip_prefix(case)?.strip_prefix('.')?;
        let is_second = config["checkpoint_format"] == "gptq_v2";
        match part {
            "deq" => None,
            "qzeros" if is_second => None,
            "qzeros_v2" if !is_second => None,
            "qzeros_v2" => Some(("qzeros", view)),
            part => Some((part, view)),
        }
    });
    let file = folder.join("module.safetensors");
    fs::write(&file, safetensors::serialize(parts, None).unwrap()).unwrap();
    let config = json!({ "quantization_config": config });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    file
}

#[test]
fn single_modules_of_every_family_bit_for_bit() {
    let original = read(&fixture("third_party_packers.safetensors"));
    let ct = |format: &str, weights: Value| {
        json!({"quant_method": "compressed-tensors", "format": format,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}})
    };
    let gptq = |format: &str| json!({"quant_method": "gptq", "bits": 4, "group_size": 64, "checkpoint_format": format});
    let float = json!({"num_bits": 4, "type": "float"});
    let asymmetric = json!({"num_bits": 4, "type": "int", "symmetric": false, "group_size": 128});
    for (case, config) in [
        ("ct_w4_g128_asym", ct("pack-quantized", asymmetric)),
        ("ct_w8a8", ct("int-quantized", json!({"num_bits": 8, "type": "int"}))),
        ("ct_fp8_chan", ct("float-quantized", json!({"num_bits": 8, "type": "float"}))),
        ("ct_nvfp4", ct("nvfp4-pack-quantized", float.clone())),
        ("ct_mxfp4", ct("mxfp4-pack-quantized", float)),
        ("mo", json!({"quant_method": "modelopt", "quant_algo": "NVFP4"})),
        ("fp8b", json!({"quant_method": "fp8", "weight_block_size": [128, 128]})),
        ("gptq4_asym", gptq("gptq")),
        ("gptq4_asym", gptq("gptq_v2")),
        ("awq", json!({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"})),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = module(folder.path(), case, &config);
        let want = &original[&format!("{case}.deq")];
        for path in [file.as_path(), folder.path()] {
            let got = dequantize(path, "f32");
            assert_eq!(got.keys().collect::<Vec<_>>(), ["weight"], "{case}");
            assert_case(case, &got["weight"], want);
        }
    }
}

/// `input` times the transposed weight, summed in f64.
fn product(original: &Tensors, weight: &[f32]) -> Vec<f64> {
    let (x, y) = (&original["input"], &original["ref_output"]);
    let k = (x.len() * weight.len() / y.len()).isqrt();
    let dot = |x: &[f32], w: &[f32]| -> f64 {
        x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
    };
    x.chunks_exact(k).flat_map(|x| weight.chunks_exact(k).map(move |w| dot(x, w))).collect()
}

/// vLLM stored its outputs of these layers in bf16; weights in bf16 give every one of them.
#[test]
fn slices_of_real_checkpoints_give_the_stored_outputs() {
    for (name, dtype) in [
        ("fp8_linear", "bf16"),
        ("compressed_tensors_linear_wna16", "bf16"),
        ("compressed_tensors_linear_w8a8fp8", "f32"),
    ] {
        let file = fixture(&format!("{name}.safetensors"));
        let original = read(&file);
        let got = product(&original, &dequantize(&file, dtype)["weight"]);
        let got: Vec<f32> = got.iter().map(|&y| bf16::from_f32(y as f32).to_f32()).collect();
        assert_eq!(got, original["ref_output"], "{name}");
    }
    let file = fixture("awq_linear.safetensors");
    let original = read(&file);
    let got = product(&original, &dequantize(&file, "f32")["weight"]);
    let pairs = got.iter().zip(&original["ref_output"]);
    let off = pairs.map(|(got, &want)| (got - f64::from(want)).abs()).fold(0.0, f64::max);
    assert!(off < 8e-6, "{off}");
    let file = fixture("fused_moe_unquantized.safetensors");
    assert_eq!(dequantize(&file, "bf16"), read(&file));
}

/// There and back: the names and values of the directory that the GGUF file was made from.
#[test]
fn a_gguf_model_becomes_what_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let (model, gguf) = (workspace().join("models/robot"), folder.path().join("robot.gguf"));
    let paths = [model.to_str().unwrap(), gguf.to_str().unwrap()];
    let (code, _, error) = run(&["quantize", paths[0], "--to", "bf16", "--out", paths[1]]).unwrap();
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(dequantize(&gguf, "bf16"), dequantize(&model, "bf16"));
    assert_eq!(dequantize(&model, "f32"), read(&model.join("model.safetensors")));
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.safetensors");
    let view = TensorView::new(Dtype::U8, vec![4, 8], &[0; 32]).unwrap();
    fs::write(&file, safetensors::serialize([("m.weight", view)], None).unwrap()).unwrap();
    let (file, out) = (file.to_str().unwrap(), folder.path().join("out.safetensors"));
    let line = |from| ["inspect", "--dequantize", from, "--out", out.to_str().unwrap()];
    for (from, message) in [
        (file, "x.safetensors: tensor m.weight is U8"),
        ("no/such/file", "no/such/file"),
        (folder.path().to_str().unwrap(), "tensor m.weight is U8"),
    ] {
        let (code, _, error) = run(&line(from)).unwrap();
        assert!(code == Some(1) && error.contains(message), "{error}");
        assert!(!out.exists());
    }
    let before = fs::read(file).unwrap();
    let (code, _, error) = run(&["inspect", "--dequantize", file, "--out", file]).unwrap();
    assert!(code == Some(1) && error.contains("over itself"), "{error}");
    assert_eq!(fs::read(file).unwrap(), before);
}
