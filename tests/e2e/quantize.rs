//! `eitri quantize`: files that other programs read, and files and directories that eitri itself runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use eitri_quant::{Checkpoint, quantize};
use eitri_tests::{run, workspace};

const FORMATS: [&str; 11] =
    ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_1", "q5_0", "q4_k_m", "q4_1", "q4_0"];

fn robot() -> PathBuf {
    workspace().join("models/robot")
}

fn write(folder: &Path, format: &str) -> PathBuf {
    let out = folder.join(format!("{format}.gguf"));
    let model = robot();
    let paths = [model.to_str().unwrap(), out.to_str().unwrap()];
    let (code, text, error) =
        run(&["quantize", paths[0], "--to", format, "--out", paths[1]]).unwrap();
    assert_eq!(code, Some(0), "{error}");
    for expected in ["embedding", "attention q,k,v", "feed-forward down", "relative error"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    out
}

/// What eitri decodes from a file, as f32, beside it.
fn decode(file: &Path) {
    let (checkpoint, _) = Checkpoint::open_gguf(file).unwrap();
    let mut bytes = Vec::new();
    for name in checkpoint.names() {
        let tensor = checkpoint.tensor(name).unwrap();
        let mut values = vec![0.0; tensor.shape.iter().product()];
        quantize::decode(tensor.encoding, tensor.bytes, &mut values).unwrap();
        bytes.extend(values.iter().flat_map(|value: &f32| value.to_le_bytes()));
    }
    fs::write(format!("{}.f32", file.display()), bytes).unwrap();
}

/// The package decodes every block to the same bits, and its own quantisers do no better.
#[test]
fn the_gguf_package_reads_the_same_values() {
    let python = workspace().join("local/python/bin/python");
    assert!(python.is_file(), "Python is missing: install it with `cargo xtask python`");
    let folder = tempfile::tempdir().unwrap();
    let files = FORMATS.map(|format| write(folder.path(), format));
    for file in &files {
        decode(file);
    }
    let output = Command::new(python)
        .arg(workspace().join("tests/python/gguf_check.py"))
        .arg(robot())
        .args(&files)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with("ok\n"), "{text}");
}

fn answer(model: &Path) -> String {
    let tools = workspace().join("models/robot-tools.json");
    let question = ["--prompt", "Drive two metres forward.", "--max-tokens", "40"];
    let model = ["chat", model.to_str().unwrap(), "--tools", tools.to_str().unwrap()];
    let question = [&["--temperature", "0"], &question[..]].concat();
    let (code, text, error) = run(&[&model[..], &question].concat()).unwrap();
    assert_eq!(code, Some(0), "{error}");
    assert!(!text.trim().is_empty(), "an answer");
    text
}

/// The tokenizer of this model cuts text in a way that GGUF has no name for, so that the right
/// answer needs all of `tokenizer.json`.
#[test]
fn a_file_of_the_stored_type_answers_as_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(answer(&write(folder.path(), "bf16")), answer(&robot()));
}

#[test]
fn all_readable_formats_run() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["f32", "f16", "q8_0", "q6_k", "q4_1", "q4_0"] {
        answer(&write(folder.path(), format));
    }
}

#[test]
fn a_file_that_exists_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("robot.gguf");
    fs::write(&out, "precious").unwrap();
    let (model, path) = (robot(), out.to_str().unwrap());
    let line = ["quantize", model.to_str().unwrap(), "--to", "q4_0", "--out", path];
    let (code, _, error) = run(&line).unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("exists already") && error.contains("--force"), "{error}");
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    let (code, _, error) = run(&[&line[..], &["--force"]].concat()).unwrap();
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(&fs::read(&out).unwrap()[..4], b"GGUF");

    let again = ["quantize", path, "--to", "q8_0", "--out", "unwritten.gguf"];
    let (code, _, error) = run(&again).unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("is Q4_0") && error.contains("start from F32, F16 or BF16"), "{error}");
    assert!(!Path::new("unwritten.gguf").exists());
}

const DIRECTORIES: [&str; 9] = [
    "w8a16",
    "gptq-int8",
    "fp8-dynamic",
    "fp8-block",
    "awq-int4",
    "gptq-int4",
    "w4a16",
    "nvfp4",
    "nvfp4-ct",
];

/// Quantises the model to a directory; returns it and what was printed.
fn write_directory(folder: &Path, format: &str, flags: &[&str]) -> (PathBuf, String) {
    let out = folder.join(format);
    let model = robot();
    let line =
        ["quantize", model.to_str().unwrap(), "--to", format, "--out", out.to_str().unwrap()];
    let (code, text, error) = run(&[&line[..], flags].concat()).unwrap();
    assert_eq!(code, Some(0), "{error}");
    for expected in ["embedding", "attention q,k,v", "feed-forward down", "relative error"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    (out, error)
}

/// The tokenizer and the chat template came along, and no flag says what the weights are.
#[test]
fn directories_run_and_eight_bits_answer_as_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let expected = answer(&robot());
    for format in DIRECTORIES {
        let (directory, notes) = write_directory(folder.path(), format, &[]);
        let is_plain = matches!(format, "fp8-dynamic" | "fp8-block");
        assert_eq!(notes.contains("--calibrate"), !is_plain, "{format}: {notes}");
        let got = answer(&directory);
        if format.contains('8') {
            assert_eq!(got, expected, "{format}");
        }
    }
}

#[test]
fn calibration_reads_conversations_and_texts() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, text) = (folder.path().join("texts.jsonl"), folder.path().join("texts.txt"));
    let conversation =
        r#"{"messages": [{"role": "user", "content": "Drive two metres forward."}]}"#;
    fs::write(&lines, format!("{conversation}\n{{\"text\": \"Turn left.\"}}\n")).unwrap();
    fs::write(&text, "Pick up the red cup.\nGo to the kitchen.\n").unwrap();
    for (format, file) in [("gptq-int4", &lines), ("awq-int4", &text), ("nvfp4", &lines)] {
        let flags = ["--calibrate", file.to_str().unwrap()];
        let (directory, notes) = write_directory(folder.path(), format, &flags);
        assert!(notes.contains("tokens of 2 texts"), "{notes}");
        answer(&directory);
    }
    let model = robot();
    let refused = |format: &str, file: &Path| {
        let line = ["quantize", model.to_str().unwrap(), "--to", format, "--out", "unwritten"];
        let flags = ["--calibrate", file.to_str().unwrap()];
        let (code, _, error) = run(&[&line[..], &flags].concat()).unwrap();
        assert_ne!(code, Some(0));
        assert!(!Path::new("unwritten").exists());
        error
    };
    for format in ["fp8-block", "fp8-dynamic", "q4_0"] {
        let error = refused(format, &text);
        assert!(error.contains(&format!("left out for {format}")), "{error}");
    }
    fs::write(&text, "{\"txt\": \"typo\"}\n").unwrap();
    let error = refused("gptq-int4", &text);
    assert!(error.contains("line 1: must have either text"), "{error}");
}

#[test]
fn a_directory_that_is_not_empty_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = write_directory(folder.path(), "w4a16", &[]);
    let before = fs::read(directory.join("config.json")).unwrap();
    let model = robot();
    let paths = [model.to_str().unwrap(), directory.to_str().unwrap()];
    let line = ["quantize", paths[0], "--to", "gptq-int8", "--out", paths[1]];
    let (code, _, error) = run(&line).unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("exists already") && error.contains("--force"), "{error}");
    assert_eq!(fs::read(directory.join("config.json")).unwrap(), before);
    let (code, _, error) = run(&[&line[..], &["--force"]].concat()).unwrap();
    assert_eq!(code, Some(0), "{error}");
    assert!(directory.join("quantize_config.json").exists());
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing else is left");
}
