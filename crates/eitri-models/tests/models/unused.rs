//! Tensors of a checkpoint that the network leaves aside are all named, and only those.

use eitri_kernels::Isa;
use eitri_models::{ModelFiles, UnusedTensors};
use safetensors::Dtype;

use crate::support::{
    packed::{PackedModel, Packing, Stored},
    tiny::{Shape, Width},
};

fn unused(model: &PackedModel) -> UnusedTensors {
    let directory = tempfile::tempdir().unwrap();
    model.write(directory.path());
    let files = ModelFiles::open(directory.path()).unwrap();
    files.weight_plan(Isa::detect()).unwrap();
    files.unused_tensors()
}

fn shape() -> Shape {
    Shape { hidden: 256, heads: 8, head_dim: 32, intermediate: 256, ..Shape::qwen3() }
}

#[test]
fn every_tensor_of_every_format_is_used_but_scales_of_activations() {
    for packing in [
        Packing::Fp8Blocks(Width::Bf16),
        Packing::Fp8Rows,
        Packing::Fp8Tensor,
        Packing::Packed(4, 64, true),
        Packing::Packed(8, 0, false),
        Packing::Int8,
        Packing::Gptq(4, 64, true, false, true),
        Packing::Gptq(8, 128, false, true, false),
        Packing::Awq(64),
        Packing::Nvfp4(true),
        Packing::Nvfp4(false),
        Packing::Mxfp4,
    ] {
        let model = PackedModel::new(&shape().build(1), packing);
        let inputs = |name: &&String| name.ends_with(".input_scale");
        let known: Vec<String> = model.tensors.keys().filter(inputs).cloned().collect();
        assert_eq!(known.is_empty(), !matches!(packing, Packing::Fp8Tensor | Packing::Nvfp4(true)));
        assert_eq!(unused(&model), UnusedTensors { unknown: Vec::new(), known }, "{packing:?}");
    }
}

#[test]
fn tensors_of_other_networks_are_named_and_scales_of_keys_are_used() {
    let mut model = PackedModel::new(&shape().build(1), Packing::Nvfp4(true));
    let one = Stored { dtype: Dtype::F32, shape: vec![], bytes: 0.5_f32.to_le_bytes().to_vec() };
    let unknown = ["model.layers.0.mlp.gate.weight", "model.layers.9.input_layernorm.weight"];
    let scale = "model.layers.1.self_attn.k_proj.k_scale";
    for name in unknown.into_iter().chain([scale]) {
        model.tensors.insert(name.to_owned(), one.clone());
    }
    let unused = unused(&model);
    assert_eq!(unused.unknown, unknown);
    assert!(!unused.known.iter().any(|name| name == scale));
}
