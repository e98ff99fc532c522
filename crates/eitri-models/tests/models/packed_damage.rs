//! Quantised directories that are damaged or not supported: each a message that names file and tensor.

use std::collections::BTreeMap;

use eitri_kernels::Activations;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::support::{
    harness::Harness,
    packed::{PackedModel, Packing, Stored},
    tiny::{Experts, Shape, Width},
};

const MODULE: &str = "model.layers.0.mlp.down_proj";

fn shape() -> Shape {
    Shape {
        hidden: 256,
        heads: 8,
        head_dim: 32,
        intermediate: 256,
        layers: 1,
        tied: false,
        ..Shape::qwen3()
    }
}

fn load(model: &PackedModel) -> String {
    let directory = tempfile::tempdir().unwrap();
    model.write(directory.path());
    match Harness::open(directory.path(), Activations::Int8, 2) {
        Ok(_) => panic!("a damaged checkpoint was loaded"),
        Err(error) => error.to_string(),
    }
}

/// The message for a tensor of [`MODULE`] changed by `damage`; it must name file and tensor.
fn damaged(packing: Packing, suffix: &str, damage: impl Fn(&mut Stored)) -> String {
    let mut model = PackedModel::new(&shape().build(1), packing);
    let name = format!("{MODULE}.{suffix}");
    damage(model.tensors.get_mut(&name).unwrap());
    let error = load(&model);
    assert!(error.contains(&format!("model.safetensors: tensor {name} ")), "{error}");
    error
}

/// Drops the last column of a matrix of 16-bit values.
fn narrower(stored: &mut Stored) {
    let columns = stored.shape[1];
    let rows = stored.bytes.chunks_exact(2 * columns).flat_map(|row| row[2..].to_vec()).collect();
    (stored.bytes, stored.shape[1]) = (rows, columns - 1);
}

#[test]
fn scales_that_are_one_too_few() {
    let error = damaged(Packing::Fp8Blocks(Width::Bf16), "weight_scale_inv", narrower);
    assert!(error.contains("must have shape [2, 2] (blocks of 128 x 128), got [2, 1]"), "{error}");
    let error = damaged(Packing::Packed(4, 64, false), "weight_scale", narrower);
    let message = "has 3 scales for a row of 256 codes of 4 bits, but config.json declares 4 bits in \
                   groups of 64";
    assert!(error.contains(message), "{error}");
    let shorter = |stored: &mut Stored| {
        stored.shape[0] -= 1;
        stored.bytes.truncate(stored.bytes.len() / (stored.shape[0] + 1) * stored.shape[0]);
    };
    damaged(Packing::Packed(4, 64, false), "weight_scale", shorter);
    damaged(Packing::Packed(4, 64, true), "weight_zero_point", shorter);
    damaged(Packing::Gptq(4, 64, true, false, false), "qzeros", shorter);
    damaged(Packing::Awq(64), "qzeros", shorter);
    damaged(Packing::Nvfp4(true), "weight_scale", shorter);
    damaged(Packing::Mxfp4, "weight_scale", shorter);
    damaged(Packing::Int8, "weight_scale", shorter);
    damaged(Packing::Fp8Rows, "weight_scale", shorter);
    let error = damaged(Packing::Gptq(4, 64, false, false, false), "scales", shorter);
    assert!(error.contains("has 3 scales for a row of 256"), "{error}");
}

#[test]
fn a_group_size_that_is_not_that_of_the_tensors() {
    for (packing, tensor) in [
        (Packing::Packed(4, 64, false), "weight_scale"),
        (Packing::Gptq(8, 64, false, false, false), "scales"),
        (Packing::Awq(64), "scales"),
    ] {
        let mut model = PackedModel::new(&shape().build(1), packing);
        let config = &mut model.config["quantization_config"];
        match packing {
            Packing::Packed(..) => {
                config["config_groups"]["group_0"]["weights"]["group_size"] = json!(32);
            }
            _ => config["group_size"] = json!(32),
        }
        let error = load(&model);
        let place = format!("model.safetensors: tensor model.layers.0.self_attn.q_proj.{tensor} ");
        assert!(error.contains(&place) && error.contains("in groups of 32"), "{error}");
    }
}

#[test]
fn scales_and_codes_that_are_not_numbers() {
    let poison = |bytes: &'static [u8]| {
        move |stored: &mut Stored| stored.bytes[..bytes.len()].copy_from_slice(bytes)
    };
    let bf16: &[u8] = &[0xC0, 0x7F];
    let f16: &[u8] = &[0x00, 0x7E];
    for (packing, tensor, bytes) in [
        (Packing::Fp8Blocks(Width::Bf16), "weight_scale_inv", bf16),
        (Packing::Fp8Blocks(Width::F16), "weight_scale_inv", f16),
        (Packing::Fp8Tensor, "weight_scale", &[0, 0, 0x80, 0x7F]),
        (Packing::Fp8Rows, "weight", &[0x7F]),
        (Packing::Packed(4, 128, true), "weight_scale", bf16),
        (Packing::Packed(8, 0, false), "weight_scale", bf16),
        (Packing::Int8, "weight_scale", bf16),
        (Packing::Gptq(4, 128, false, false, false), "scales", f16),
        (Packing::Awq(128), "scales", f16),
        (Packing::Nvfp4(true), "weight_scale", &[0xFF]),
        (Packing::Mxfp4, "weight_scale", &[0xFF]),
    ] {
        let error = damaged(packing, tensor, poison(bytes));
        assert!(error.contains("has values that are not finite"), "{packing:?}: {error}");
    }
    let error = damaged(Packing::Nvfp4(false), "weight_global_scale", poison(&[0; 4]));
    assert!(error.contains("is 0, which no weight can be scaled by"), "{error}");
}

#[test]
fn groups_of_inputs_that_do_not_exist_or_have_the_wrong_size() {
    let set = |at: usize, group: i32| {
        move |stored: &mut Stored| {
            stored.bytes[4 * at..4 * at + 4].copy_from_slice(&group.to_le_bytes());
        }
    };
    let packing = Packing::Gptq(4, 64, false, false, true);
    for (group, message) in
        [(4, "into group 4; groups are 0 to 3"), (-1, "into group -1"), (i32::MIN, "-2147483648")]
    {
        let error = damaged(packing, "g_idx", set(7, group));
        assert!(error.contains("puts input 7 ") && error.contains(message), "{error}");
    }
    let plain = Packing::Gptq(4, 64, false, false, false);
    let error = damaged(plain, "g_idx", set(0, 3));
    assert!(error.contains("puts 63 inputs into group 0, whose size is 64"), "{error}");
}

#[test]
fn widths_and_types_that_do_not_fit() {
    let as_i64 = |stored: &mut Stored| {
        (stored.dtype, stored.shape[1]) = (Dtype::I64, stored.shape[1] / 2);
    };
    let error = damaged(Packing::Gptq(4, 64, false, false, false), "qweight", as_i64);
    assert!(error.contains("must be I32, got I64"), "{error}");
    let halved = |stored: &mut Stored| {
        stored.shape[1] /= 2;
        stored.bytes.truncate(stored.bytes.len() / 2);
    };
    let error = damaged(Packing::Packed(4, 64, false), "weight_packed", halved);
    assert!(error.contains("does not hold [256, 256] codes of 4 or 8 bits"), "{error}");
    let error = damaged(Packing::Gptq(4, 64, false, false, false), "qzeros", halved);
    assert!(error.contains("only codes of 4 and 8 bits are supported"), "{error}");
    let error = damaged(Packing::Awq(64), "qweight", halved);
    assert!(error.contains("for 256 outputs GPTQ has 256 columns and AWQ an eighth"), "{error}");
}

#[test]
fn parts_of_a_module_that_are_missing() {
    for (packing, suffix) in [
        (Packing::Packed(4, 64, false), "weight_scale"),
        (Packing::Gptq(4, 64, false, false, false), "scales"),
        (Packing::Gptq(4, 64, false, false, false), "qzeros"),
        (Packing::Awq(64), "qzeros"),
        (Packing::Int8, "weight_scale"),
    ] {
        let mut model = PackedModel::new(&shape().build(1), packing);
        let name = format!("{MODULE}.{suffix}");
        model.tensors.remove(&name).unwrap();
        let error = load(&model);
        assert_eq!(error, format!("model.safetensors lacks tensors of the network: {name}"));
    }
    let mut model = PackedModel::new(&shape().build(1), Packing::Fp8Rows);
    model.tensors.remove(&format!("{MODULE}.weight_scale")).unwrap();
    let error = load(&model);
    assert!(error.contains(&format!("{MODULE}.weight is F8_E4M3, but neither")), "{error}");
}

fn refused(config: Value, tensors: BTreeMap<String, Stored>) -> String {
    let mut model = PackedModel::new(&shape().build(1), Packing::Awq(64));
    model.config["quantization_config"] = config;
    model.tensors.extend(tensors);
    load(&model)
}

#[test]
fn what_cannot_be_computed_is_refused_by_name_with_what_comes_nearest() {
    let gptq = |key: &str, value: Value| {
        let mut config = Packing::Gptq(4, 64, false, false, false).config();
        config[key] = value;
        config
    };
    let awq = |key: &str, value: Value| {
        let mut config = Packing::Awq(64).config();
        config[key] = value;
        config
    };
    let compressed = |key: &str, value: Value| {
        let mut config = Packing::Packed(4, 64, false).config();
        config[key] = value;
        config
    };
    for (config, message) in [
        (gptq("bits", json!(3)), "bits 3 is not supported; 4 and 8 bits are"),
        (gptq("bits", json!(2)), "bits 2 is not supported"),
        (gptq("checkpoint_format", json!("marlin")), "checkpoint_format marlin is not supported"),
        (gptq("pack_dtype", json!("int16")), "pack_dtype int16 is not supported; int32 is"),
        (gptq("group_size", json!(0)), "group_size must be a size, or -1 for a whole row, got 0"),
        (awq("version", json!("gemv")), "AWQ version gemv is not supported; version gemm is"),
        (awq("bits", json!(8)), "AWQ of 8 bits is not supported"),
        (compressed("format", json!("marlin-24")), "format marlin-24 is not supported; readable"),
        (compressed("transform_config", json!({"u": {}})), "run-time rotations"),
        (
            compressed("sparsity_config", json!({"format": "sparse-24-bitmask"})),
            "sparse-24-bitmask",
        ),
        (
            json!({"quant_method": "bitsandbytes"}),
            "bitsandbytes is not supported; readable are fp8",
        ),
        (json!({"quant_method": "exl3"}), "a GPTQ or AWQ checkpoint"),
        (json!({"quant_method": "modelopt", "quant_algo": "NVFP4_AWQ"}), "pre_quant_scale"),
        (json!({"quant_method": "modelopt", "quant_algo": "W4A8"}), "quant_algo W4A8"),
        (json!({"quant_method": "fp8", "fmt": "e5m2"}), "fmt e5m2 is not supported; e4m3 is"),
        (json!({"quant_method": "auto-round", "bits": 4}), "packing_format auto_round"),
    ] {
        let error = refused(config, BTreeMap::new());
        assert!(error.starts_with("config.json: ") && error.contains(message), "{error}");
    }
    let smoothing = Stored { dtype: Dtype::F32, shape: vec![1], bytes: vec![0; 4] };
    let name = format!("{MODULE}.pre_quant_scale");
    let error = refused(Packing::Awq(64).config(), BTreeMap::from([(name.clone(), smoothing)]));
    assert!(
        error.contains(&format!("tensor {name} is not supported: scales of inputs")),
        "{error}"
    );
}

/// Each expert's inputs would have to be gathered in its own order.
#[test]
fn experts_with_orders_of_their_own_are_refused() {
    let moe = Shape::qwen3_moe(true).moe.map(|moe| Experts { intermediate: 128, ..moe });
    let shape = Shape { moe, architecture: "Qwen3MoeForCausalLM", ..shape() };
    let packing = Packing::Gptq(4, 64, false, false, true);
    let mut model = PackedModel::new(&shape.build(1), packing);
    let name = "model.layers.0.mlp.experts.3.up_proj.g_idx";
    let stored = model.tensors.get_mut(name).unwrap();
    stored.bytes.rotate_left(4);
    let error = load(&model);
    assert!(error.contains("desc_act") && error.contains("experts.3.up_proj"), "{error}");
}

#[test]
fn the_configuration_may_stand_in_a_file_of_its_own() {
    for (packing, file) in [
        (Packing::Nvfp4(true), "hf_quant_config.json"),
        (Packing::Gptq(4, 64, false, false, false), "quantize_config.json"),
        (Packing::Awq(64), "quant_config.json"),
    ] {
        let mut model = PackedModel::new(&shape().build(1), packing);
        let mut config = model.config["quantization_config"].take();
        config.as_object_mut().unwrap().remove("quant_method");
        if file == "hf_quant_config.json" {
            config = json!({"producer": {"name": "modelopt"}, "quantization": config});
        }
        let directory = tempfile::tempdir().unwrap();
        model.write(directory.path());
        std::fs::write(directory.path().join(file), config.to_string()).unwrap();
        Harness::open(directory.path(), Activations::Exact, 2).unwrap();
        std::fs::write(directory.path().join(file), "{").unwrap();
        let error = Harness::open(directory.path(), Activations::Exact, 2).err().unwrap();
        assert!(error.to_string().starts_with(file), "{error}");
    }
}
