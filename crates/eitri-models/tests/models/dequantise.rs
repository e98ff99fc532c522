//! Plain tensors of whole models against the values that their writers meant.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use eitri_models::{DequantiseReport, dequantise};
use eitri_quant::Encoding;
use safetensors::SafeTensors;

use crate::support::{
    blocks::Block,
    gguf,
    packed::{PackedModel, Packing},
    tiny::{Experts, Shape, Tiny, Values, Width},
};

fn plain(path: &Path) -> (BTreeMap<String, Values>, DequantiseReport) {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("plain.safetensors");
    let go_on = &mut |_| ControlFlow::Continue(());
    let report = dequantise(path, &target, Encoding::F32, go_on).unwrap();
    let bytes = std::fs::read(&target).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.iter().map(|(name, view)| {
        let (data, _) = view.data().as_chunks::<4>();
        let data = data.iter().map(|&value| f32::from_le_bytes(value)).collect();
        (name.to_owned(), Values { shape: view.shape().to_vec(), data })
    });
    (tensors.collect(), report)
}

/// The same names and shapes, and the same values to the last bit but for the sign of zero.
fn assert_means(got: &BTreeMap<String, Values>, meant: &Tiny, what: &str) {
    assert!(got.keys().eq(meant.tensors.keys()), "{what}: {:?}", got.keys());
    for (name, values) in &meant.tensors {
        assert_eq!(got[name].shape, values.shape, "{what}: {name}");
        assert_eq!(got[name].data, values.data, "{what}: {name}");
    }
}

fn dense() -> Shape {
    Shape { hidden: 256, heads: 8, head_dim: 32, intermediate: 384, tied: false, ..Shape::qwen3() }
}

fn sparse() -> Shape {
    let shape = Shape::qwen3_moe(true);
    let moe = shape.moe.map(|moe| Experts { intermediate: 256, ..moe });
    Shape { moe, hidden: 256, heads: 8, head_dim: 32, ..shape }
}

#[test]
fn directories_of_every_format_mean_what_was_packed() {
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
        for shape in [dense(), sparse()] {
            let model = PackedModel::new(&shape.build(4), packing);
            let directory = tempfile::tempdir().unwrap();
            model.write(directory.path());
            let (got, report) = plain(directory.path());
            assert_means(&got, &model.meant, &format!("{packing:?}"));
            let inputs = |name: &String| name.ends_with(".input_scale");
            assert!(report.left_out.iter().all(inputs), "{packing:?}: {:?}", report.left_out);
        }
    }
}

/// Names, the order of rows in heads of Llama, and experts one by one are those of transformers.
#[test]
fn gguf_models_get_the_names_and_rows_of_transformers() {
    let llama = Shape { architecture: "LlamaForCausalLM", tied: true, ..dense() };
    for block in [Block::F32, Block::Bf16, Block::Q8_0, Block::Q4_1, Block::Mxfp4] {
        for shape in [dense(), llama.clone(), sparse()] {
            let (bytes, meant) = gguf::model(&shape, &shape.build(5), block);
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("tiny.gguf");
            std::fs::write(&path, bytes).unwrap();
            let (got, report) = plain(&path);
            assert_means(&got, &meant, &format!("{block:?}"));
            assert!(report.left_out.is_empty(), "{:?}", report.left_out);
        }
    }
}

/// Part of a model, or one that is not known.
#[test]
fn other_gguf_files_keep_their_names() {
    let mut writer = gguf::Writer::default();
    writer.string("general.architecture", "of another kind");
    let ones = [1.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    writer.tensor("blk.0.attn_norm.weight", &[2], 0, ones);
    let mut block = vec![0x00, 0x3C, 0xF0];
    block.resize(18, 0x88);
    writer.tensor("blk.0.ffn_up_exps.weight", &[2, 1, 32], 2, block.repeat(2));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("part.gguf");
    std::fs::write(&path, writer.finish()).unwrap();
    let (got, report) = plain(&path);
    assert_eq!(got["blk.0.attn_norm.weight"].data, [1.0, 2.0]);
    let stack = &got["blk.0.ffn_up_exps.weight"];
    assert_eq!(stack.shape, [2, 1, 32]);
    assert_eq!([stack.data[0], stack.data[16], stack.data[32], stack.data[48]], [-8., 7., -8., 7.]);
    assert_eq!(report.stored, [("Q4_0", 1), ("F32", 1)]);
}
