//! Damaged checkpoints: each a message that names the file and the place.

use std::path::Path;

use eitri_kernels::Activations;
use eitri_models::ModelFiles;
use serde_json::json;

use crate::support::{
    blocks::Block,
    gguf,
    harness::Harness,
    tiny::{Shape, Tiny, Values, Width},
};

const FIRST_DOWN: &str = "model.layers.0.mlp.down_proj.weight";

fn tiny() -> Tiny {
    Shape::qwen3().build(1)
}

fn load(path: &Path) -> String {
    match Harness::open(path, Activations::Int8, 2) {
        Ok(_) => panic!("a damaged checkpoint was loaded"),
        Err(error) => error.to_string(),
    }
}

/// The message for a tensor set changed by `damage`.
fn damaged(damage: impl Fn(&mut Tiny), width: Width) -> String {
    let mut tiny = tiny();
    damage(&mut tiny);
    let directory = tempfile::tempdir().unwrap();
    tiny.write(directory.path(), width);
    load(directory.path())
}

#[test]
fn tensors_that_are_missing_or_of_another_shape() {
    let error = damaged(|tiny| drop(tiny.tensors.remove(FIRST_DOWN)), Width::Bf16);
    assert_eq!(error, format!("model.safetensors lacks tensors of the network: {FIRST_DOWN}"));
    let error = damaged(|tiny| tiny.config["num_hidden_layers"] = json!(3), Width::Bf16);
    let norm = "model.layers.2.input_layernorm.weight";
    let start = format!("model.safetensors lacks tensors of the network: {norm}, model.layers.2.");
    assert!(error.starts_with(&start) && error.ends_with(" and 3 more"), "{error}");
    let transpose = |tiny: &mut Tiny| tiny.tensors.get_mut(FIRST_DOWN).unwrap().shape.reverse();
    let error = damaged(transpose, Width::Bf16);
    assert_eq!(error, format!("tensor {FIRST_DOWN} must have shape [64, 96], got [96, 64]"));
    let lie = |tiny: &mut Tiny| tiny.config["num_attention_heads"] = json!(8);
    let error = damaged(lie, Width::Bf16);
    let query = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!(error, format!("tensor {query} must have shape [128, 64], got [64, 64]"));
    let norm = "model.layers.1.self_attn.q_norm.weight";
    let error = damaged(
        |tiny| drop(tiny.tensors.insert(norm.into(), Values { shape: vec![8], data: vec![1.; 8] })),
        Width::F32,
    );
    assert_eq!(error, format!("tensor {norm} must have shape [16], got [8]"));
}

#[test]
fn weights_that_are_not_finite() {
    for width in [Width::F32, Width::F16, Width::Bf16] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for name in [FIRST_DOWN, "model.norm.weight", "model.embed_tokens.weight"] {
                let poison = |tiny: &mut Tiny| tiny.tensors.get_mut(name).unwrap().data[37] = bad;
                let error = damaged(poison, width);
                let message =
                    format!("model.safetensors: tensor {name} has values that are not finite");
                assert!(error.contains(&message), "{error}");
            }
        }
    }
}

#[test]
fn scales_that_are_not_finite() {
    // Where a block has its numbers, of which each is damaged.
    let f16 = [0x00, 0x7E];
    let places: [(Block, &[usize], &[u8]); 13] = [
        (Block::Q8_0, &[0], &f16),
        (Block::Q4_0, &[0], &f16),
        (Block::Q4_1, &[0, 2], &f16),
        (Block::Q5_0, &[0], &f16),
        (Block::Q5_1, &[0, 2], &f16),
        (Block::Q2K, &[80, 82], &f16),
        (Block::Q3K, &[108], &f16),
        (Block::Q4K, &[0, 2], &f16),
        (Block::Q5K, &[0, 2], &f16),
        (Block::Q6K, &[208], &f16),
        (Block::Iq4Nl, &[0], &f16),
        (Block::Iq4Xs, &[0], &f16),
        (Block::Mxfp4, &[0], &[0xFF]),
    ];
    let places =
        places.iter().flat_map(|&(block, at, bad)| at.iter().map(move |at| (block, at, bad)));
    for (block, scale, bad) in places {
        let shape =
            Shape { hidden: 256, heads: 8, head_dim: 32, intermediate: 256, ..Shape::qwen3() };
        let (mut bytes, _) = gguf::model(&shape, &shape.build(1), block);
        let header = eitri_quant::gguf::parse(&bytes).unwrap();
        let tensor = header.tensors.iter().find(|t| t.name == "blk.1.attn_v.weight").unwrap();
        bytes[tensor.range.start + scale..][..bad.len()].copy_from_slice(bad);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tiny.gguf");
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path);
        let message = "tiny.gguf: tensor blk.1.attn_v.weight has values that are not finite";
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn truncated_safetensors() {
    let directory = tempfile::tempdir().unwrap();
    tiny().write_config(directory.path());
    let bytes = tiny().safetensors(Width::Bf16);
    for (len, message) in [
        (0, "model.safetensors: the file has 0 bytes, but its header needs 8"),
        (7, "model.safetensors: the file has 7 bytes, but its header needs 8"),
        (100, "model.safetensors: the file has 100 bytes, but its header needs"),
        (bytes.len() - 1, "model.safetensors: tensor model.norm.weight ends at byte"),
    ] {
        std::fs::write(directory.path().join("model.safetensors"), &bytes[..len]).unwrap();
        let error = load(directory.path());
        assert!(error.starts_with(message) && error.contains("truncated"), "{error}");
    }
}

#[test]
fn truncated_gguf() {
    let shape = Shape::qwen3();
    let (bytes, _) = gguf::model(&shape, &shape.build(1), Block::F32);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    for (len, message) in [
        (0, "tiny.gguf: the file ends inside magic"),
        (3, "tiny.gguf: the file ends inside magic"),
        (20, "tiny.gguf: the file ends inside metadata count"),
        (60, "tiny.gguf: the header promises"),
        (bytes.len() - 1, "tiny.gguf: tensor output_norm.weight ends at byte"),
    ] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let error = load(&path);
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn broken_json_and_indexes() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    tiny().write_sharded(directory.path(), Width::Bf16, 2);
    let index = std::fs::read_to_string(at("model.safetensors.index.json")).unwrap();
    let message = |name: &str, text: &str| {
        std::fs::write(at(name), text).unwrap();
        load(directory.path())
    };
    let moved = index.replacen("00002-of", "00001-of", 1);
    let error = message("model.safetensors.index.json", &moved);
    assert!(
        error.contains("is in model-00001-of-00002.safetensors, which does not have it"),
        "{error}"
    );
    let outside = index.replacen("model-00002-of-00002.safetensors", "../secret", 1);
    let error = message("model.safetensors.index.json", &outside);
    assert!(error.contains("is in \"../secret\", which is not a plain file name"), "{error}");
    let error = message("model.safetensors.index.json", "{\"weight_map\": []}");
    assert!(error.starts_with("model.safetensors.index.json: weight_map must be"), "{error}");
    let error = message("model.safetensors.index.json", "{\"weight_map\": ");
    assert!(error.contains("index.json: the header is not valid JSON: EOF"), "{error}");
    std::fs::write(at("model.safetensors.index.json"), &index).unwrap();
    std::fs::remove_file(at("model-00002-of-00002.safetensors")).unwrap();
    let error = load(directory.path());
    assert!(error.contains("model-00002-of-00002.safetensors: No such file"), "{error}");
    std::fs::copy(at("model-00001-of-00002.safetensors"), at("model-00002-of-00002.safetensors"))
        .unwrap();
    let error = load(directory.path());
    assert!(
        error.contains("is in both model-00001-of-00002.safetensors and model-0000"),
        "{error}"
    );
    let error = message("config.json", "{\"architectures\": [");
    assert!(error.starts_with("config.json: not valid JSON: EOF"), "{error}");
    let error = message("config.json", "[1]");
    assert!(error.starts_with("config.json: not valid JSON: invalid type"), "{error}");
}

#[test]
fn paths_that_are_no_model() {
    let directory = tempfile::tempdir().unwrap();
    let error = load(directory.path());
    assert!(error.ends_with("it has neither config.json nor a .gguf file"), "{error}");
    let error = load(&directory.path().join("absent"));
    assert!(error.starts_with("cannot read ") && error.contains("absent"), "{error}");
    tiny().write_config(directory.path());
    let error = load(directory.path());
    assert!(error.contains("has neither model.safetensors nor"), "{error}");
    let file = directory.path().join("model.gguf");
    std::fs::write(&file, "not a model at all, but a text").unwrap();
    let error = load(&file);
    assert!(error.starts_with("model.gguf: not a GGUF file: it begins with"), "{error}");
}

#[test]
fn gguf_of_an_unknown_architecture_or_type() {
    let mut writer = gguf::Writer::default();
    writer.string("general.architecture", "mamba");
    writer.tensor("token_embd.weight", &[2, 256], 12, vec![0; 288]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.gguf");
    std::fs::write(&path, writer.finish()).unwrap();
    let error = ModelFiles::open(&path).unwrap_err().to_string();
    let message =
        "m.gguf: architecture mamba is not supported; supported are qwen3, qwen3moe, llama";
    assert_eq!(error, message);
}

/// A flipped bit anywhere in a header is an error or a harmless change, never a panic.
#[test]
fn flipped_bits_in_headers_never_panic() {
    let shape = Shape { layers: 1, ..Shape::qwen3() };
    let tiny = shape.build(1);
    let (gguf_bytes, _) = gguf::model(&shape, &tiny, Block::Q8_0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    let mut refused = 0;
    for bit in (0..8 * 700).step_by(13) {
        let mut bytes = gguf_bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        let outcome =
            ModelFiles::open(&path).map(|files| files.weight_plan(eitri_kernels::Isa::Scalar));
        refused += usize::from(!matches!(outcome, Ok(Ok(_))));
    }
    assert!(refused > 100, "only {refused} changes were noticed");
}
