//! GGUF files written from tiny models: what they compute, and what they are refused for.

use std::{ops::ControlFlow, path::Path};

use eitri_kernels::Activations;
use eitri_models::{
    ExportOptions, ExportReport, GGUF_PRESETS, GgufPreset, ModelError, ModelFiles, export_gguf,
};
use eitri_quant::Checkpoint;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::support::{
    blocks::Block,
    gguf,
    harness::{Harness, random_tokens},
    tiny::{Shape, Tiny, Width},
};

fn export(model: &Path, target: &Path, preset: &str) -> Result<ExportReport, ModelError> {
    let files = ModelFiles::open(model)?;
    let preset = GgufPreset::find(preset).unwrap();
    let options = ExportOptions { preset, tokenizer: &[], threads: 3 };
    export_gguf(&files, target, &options, &mut |_| ControlFlow::Continue(()))
}

fn logits(path: &Path, tokens: &[u32]) -> Vec<Vec<f32>> {
    Harness::open(path, Activations::Exact, 1).unwrap().prompt(tokens)
}

fn names(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn shapes() -> [Shape; 4] {
    let sparse = Shape::qwen3_moe(false);
    let mixed = Shape { tied: true, ..Shape::qwen3_moe(true) };
    [Shape::qwen3(), Shape { tied: false, ..Shape::llama() }, sparse, mixed]
}

/// Names, metadata and the order of rows are right if the network computes the same from both.
#[test]
fn f32_files_compute_the_same_bit_for_bit() {
    for shape in shapes() {
        let folder = tempfile::tempdir().unwrap();
        shape.build(5).write(folder.path(), Width::F32);
        let target = folder.path().join("model.gguf");
        let report = export(folder.path(), &target, "f32").unwrap();
        assert_eq!(report.relative_error(), 0.0);
        assert_eq!(report.file_bytes, target.metadata().unwrap().len());
        assert!(report.ignored.is_empty() && report.fallbacks.is_empty(), "{report:?}");
        let tokens = random_tokens(24, shape.vocab, &mut StdRng::seed_from_u64(1));
        assert_eq!(logits(&target, &tokens), logits(folder.path(), &tokens), "{shape:?}");
        let (files, copy) = (ModelFiles::open(&target).unwrap(), folder.path().join("copy.gguf"));
        assert_eq!(files.generation().eos_token_ids, [2, 3]);
        export(&target, &copy, "f32").unwrap();
        assert_eq!(logits(&copy, &tokens), logits(folder.path(), &tokens), "{shape:?}");
    }
}

/// The same tensors under the same names with the same bytes as a writer that this crate's reader
/// is tested with.
#[test]
fn tensors_are_those_of_the_converter() {
    for shape in [Shape::qwen3(), Shape::llama(), Shape::qwen3_moe(true)] {
        let folder = tempfile::tempdir().unwrap();
        let tiny = shape.build(6);
        tiny.write(folder.path(), Width::F32);
        let (expected, _) = gguf::model(&shape, &tiny, Block::F32);
        let reference = folder.path().join("reference.gguf");
        std::fs::write(&reference, expected).unwrap();
        let target = folder.path().join("model.gguf");
        export(folder.path(), &target, "f32").unwrap();
        let (got, got_header) = Checkpoint::open_gguf(&target).unwrap();
        let (want, want_header) = Checkpoint::open_gguf(&reference).unwrap();
        let sorted = |checkpoint: &Checkpoint| {
            let mut names: Vec<String> =
                checkpoint.names().iter().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(sorted(&got), sorted(&want));
        for name in want.names() {
            let (got, want) = (got.tensor(name).unwrap(), want.tensor(name).unwrap());
            assert_eq!((got.shape, got.encoding), (want.shape, want.encoding), "{name}");
            assert!(got.bytes == want.bytes, "{name}");
        }
        for (key, value) in &want_header.metadata {
            if !key.starts_with("tokenizer.") {
                assert_eq!(got_header.metadata.get(key), Some(value), "{key}");
            }
        }
    }
}

#[test]
fn llama_3_scaling_becomes_a_tensor_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut tiny = Shape::llama().build(7);
    tiny.config["rope_theta"] = json!(500_000.0);
    tiny.config["rope_scaling"] = json!({
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    tiny.write(folder.path(), Width::F32);
    let target = folder.path().join("model.gguf");
    export(folder.path(), &target, "f32").unwrap();
    let scaling = |path: &Path| ModelFiles::open(path).unwrap().config().rope_scaling;
    assert_eq!(scaling(&target), scaling(folder.path()));
}

#[test]
fn other_scalings_come_back_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model.gguf");
    let with = |scaling: serde_json::Value| {
        let mut tiny = Shape::qwen3().build(8);
        tiny.config["rope_scaling"] = scaling;
        tiny.write(folder.path(), Width::Bf16);
        export(folder.path(), &target, "bf16")
    };
    for scaling in [
        json!({"type": "linear", "factor": 4.0}),
        json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}),
    ] {
        with(scaling).unwrap();
        let config = |path: &Path| ModelFiles::open(path).unwrap().config().clone();
        let (got, want) = (config(&target), config(folder.path()));
        assert_eq!(got.rope_scaling, want.rope_scaling);
        assert_eq!(got.max_position_embeddings, want.max_position_embeddings);
    }
    let error = with(json!({"rope_type": "yarn", "factor": 4.0, "mscale": 0.7})).unwrap_err();
    assert!(error.to_string().contains("rope_scaling.mscale is 0.7"), "{error}");
}

/// Every preset that this crate reads gives a model near the original, the nearer the more bits.
#[test]
fn quantised_files_compute_nearly_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { hidden: 256, intermediate: 512, ..Shape::qwen3() };
    shape.build(9).write(folder.path(), Width::Bf16);
    let tokens = random_tokens(16, shape.vocab, &mut StdRng::seed_from_u64(2));
    let wanted = logits(folder.path(), &tokens);
    let norm = |rows: &[Vec<f32>]| rows.iter().flatten().map(|x| x * x).sum::<f32>().sqrt();
    let mut errors = Vec::new();
    for preset in ["bf16", "q8_0", "q6_k", "q4_1", "q4_0"] {
        let target = folder.path().join(format!("{preset}.gguf"));
        let report = export(folder.path(), &target, preset).unwrap();
        let got = logits(&target, &tokens);
        let difference: Vec<Vec<f32>> = got
            .iter()
            .zip(&wanted)
            .map(|(got, want)| got.iter().zip(want).map(|(a, b)| a - b).collect())
            .collect();
        errors.push((norm(&difference) / norm(&wanted), report.relative_error()));
    }
    assert_eq!(errors[0], (0.0, 0.0), "bf16 is what the model is stored in");
    assert!(errors.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{errors:?}");
    assert!(errors[4].0 < 0.3, "{errors:?}");
}

/// Types that this crate does not read have the right names and sizes all the same.
#[test]
fn all_presets_are_written_and_errors_are_reported_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { hidden: 256, intermediate: 512, ..Shape::qwen3() };
    shape.build(10).write(folder.path(), Width::F16);
    for preset in &GGUF_PRESETS {
        let target = folder.path().join("model.gguf");
        let report = export(folder.path(), &target, preset.name).unwrap();
        let (_, header) = Checkpoint::open_gguf(&target).unwrap();
        assert_eq!(header.tensors.len(), report.rows.iter().map(|row| row.tensors).sum::<usize>());
        let down = report.rows.iter().filter(|row| row.kind == "feed-forward down");
        assert_eq!(down.map(|row| row.tensors).sum::<usize>(), 2);
        let norms = report.rows.iter().find(|row| row.kind == "norms").unwrap();
        assert_eq!((norms.encoding, norms.tensors, norms.relative_error()), ("F32", 9, 0.0));
        assert!(report.relative_error() < 0.1, "{}: {report:?}", preset.name);
        // A head of 64 values is less than a block of the K types.
        let narrow = preset.name.contains("_k");
        assert_eq!(report.fallbacks.len(), if narrow { 2 } else { 0 }, "{}", preset.name);
    }
}

#[test]
fn what_cannot_be_exported_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape::qwen3();
    let target = folder.path().join("model.gguf");
    let write = |tiny: &Tiny| tiny.write(folder.path(), Width::F32);
    let mut tiny = shape.build(11);
    let name = "model.layers.1.mlp.down_proj.weight";

    tiny.tensors.get_mut(name).unwrap().data[7] = 1e9;
    write(&tiny);
    let before = names(folder.path());
    let error = export(folder.path(), &target, "f16").unwrap_err().to_string();
    assert!(error.contains("blk.1.ffn_down.weight") && error.contains("F16"), "{error}");
    assert_eq!(names(folder.path()), before);

    tiny.tensors.get_mut(name).unwrap().data[7] = f32::NAN;
    write(&tiny);
    let error = export(folder.path(), &target, "q8_0").unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("not finite"), "{error}");

    tiny.tensors.remove(name);
    write(&tiny);
    let error = export(folder.path(), &target, "q8_0").unwrap_err().to_string();
    assert!(error.contains(name), "{error}");

    write(&shape.build(11));
    let files = ModelFiles::open(folder.path()).unwrap();
    let options = ExportOptions { preset: &GGUF_PRESETS[0], tokenizer: &[], threads: 1 };
    let stopped = export_gguf(&files, &target, &options, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(ModelError::Stopped)), "{stopped:?}");
    assert_eq!(names(folder.path()), before);

    let quantised = folder.path().join("q8_0.gguf");
    export(folder.path(), &quantised, "q8_0").unwrap();
    let error = export(&quantised, &target, "q4_0").unwrap_err().to_string();
    assert!(error.contains("is Q8_0, which is not supported as a source"), "{error}");
}
