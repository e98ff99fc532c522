//! `eitri bench serve` against `eitri serve`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

use eitri_tests::{Server, binary, workspace};
use serde_json::Value;

fn bench(server: &Server, arguments: &[&str]) -> Output {
    let tokenizer = workspace().join("models/robot");
    Command::new(binary().unwrap())
        .args(["bench", "serve", "--base-url", &server.base, "--tokenizer"])
        .arg(tokenizer)
        .args(["--random-input-len", "64", "--random-output-len", "8", "--ignore-eos"])
        .args(["--num-prompts", "6", "--max-concurrency", "2"])
        .args(arguments)
        .env_remove("OPENAI_API_KEY")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_server_is_measured_and_the_result_is_written() {
    let server = Server::start(Path::new("robot"), &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (result, records) = (folder.path().join("result.json"), folder.path().join("records.json"));
    let directory = folder.path().to_str().unwrap();
    for api in ["openai", "openai-chat"] {
        let output = bench(
            &server,
            &[
                "--endpoint-type",
                api,
                "--fail-on-error",
                "--save-result",
                "--result-dir",
                directory,
                "--result-filename",
                "result.json",
                "--save-records",
                records.to_str().unwrap(),
            ],
        );
        let (printed, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{error}");
        assert!(printed.starts_with("============ Serving Benchmark Result ============\n"));
        for line in [
            "Successful requests:                     6",
            "Total generated tokens:                  48",
        ] {
            assert!(printed.contains(line), "{printed}");
        }
        let read = |path: &Path| -> Value {
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let saved = read(&result);
        assert_eq!((&saved["completed"], &saved["total_output_tokens"]), (&6.into(), &48.into()));
        assert_eq!(saved["model_id"], "robot");
        // The first prompt was sent before the run, so that the server has it.
        let requests = &read(&records)["requests"];
        assert!(requests[0]["cached_prompt_tokens"].as_u64().unwrap() > 0, "{requests}");
    }
}

#[test]
fn a_wrong_model_ends_the_command_with_the_servers_words() {
    let server = Server::start(Path::new("robot"), &[]).unwrap();
    let output = bench(&server, &["--model", "other"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the first request failed: status 404"), "{error}");
    let output = bench(&server, &["--model", "other", "--ready-check-timeout-sec", "0"]);
    let (printed, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(printed.contains("Successful requests:                     0"), "{printed}");
    assert!(error.contains("6 requests failed (refused by the server)"), "{error}");
}

#[test]
fn a_dry_run_needs_no_server() {
    let tokenizer = workspace().join("models/robot");
    let output = Command::new(binary().unwrap())
        .args(["bench", "serve", "--dry-run", "--model", "robot", "--tokenizer"])
        .arg(tokenizer)
        .args(["--random-input-len", "300", "--random-output-len", "20", "--num-prompts", "12"])
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // The same settings are in crates/eitri-bench/tests/golden/prompts.json.
    assert!(printed.contains("Total input tokens:                      3600\n"), "{printed}");
}
