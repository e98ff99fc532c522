//! vLLM's command lines put through ours, and vLLM's own client where it can be had.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Parser;
use eitri_bench::cli::{Plan, ServeArgs};

/// Releases and the packages that stand for them.
pub(crate) const VERSIONS: [(&str, &str); 3] =
    [("vllm-0.10", "0.10.1.1"), ("vllm-0.11", "0.11.0.post2"), ("vllm-0.32", "0.32.0")];

/// Status of the oracle when the package or a module that it needs is missing.
const CANNOT: i32 = 3;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: ServeArgs,
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Parses flags as `eitri bench serve` does.
pub(crate) fn parse(words: &[&str]) -> ServeArgs {
    Line::try_parse_from(["serve"].iter().chain(words)).unwrap_or_else(|e| panic!("{e}")).arguments
}

/// The plan of a command line of vLLM, in which `DATA/` stands for the golden data.
pub(crate) fn plan(compat: &str, flags: &str, tokenizer: &Path) -> Plan {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data");
    let replaced = flags.replace("DATA/", &format!("{}/", data.display()));
    let mut words = vec!["--compat", compat, "--model", "m"];
    words.extend(["--tokenizer", tokenizer.to_str().unwrap()]);
    words.extend(replaced.split_whitespace());
    parse(&words).plan(None, None).unwrap()
}

/// What vLLM's client prints; none where it cannot be run, which is said.
pub(crate) fn client(line: &[&str]) -> Option<String> {
    let python = workspace().join("local/python/bin/python");
    if !python.is_file() {
        println!("skipped: install Python's packages with `cargo xtask python`");
        return None;
    }
    let output = Command::new(python)
        .arg(workspace().join("tests/python/vllm_client.py"))
        .arg(workspace().join("target/vllm-client"))
        .args(line)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT) {
        println!("skipped: {error}");
        return None;
    }
    assert!(output.status.success(), "{error}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Qwen3's tokenizer, made of the vocabulary in the package `dashscope`.
pub(crate) fn qwen3_tokenizer() -> Option<PathBuf> {
    let directory = workspace().join("target/vllm-client/qwen3");
    client(&["qwen", "-", directory.to_str().unwrap()])?;
    Some(directory)
}
