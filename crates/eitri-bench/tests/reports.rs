//! Recorded requests give the block and the file of vLLM's own client, byte for byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod vllm;

use eitri_bench::{
    ResultFile,
    outcome::{
        BenchOutcome, Failure, FailureKind, Metrics, RequestRecord, RunSettings, ServerFacts,
    },
};
use eitri_text::Tokenizer;
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/reports.json");

fn settings(case: &Value) -> RunSettings {
    let compat = case["compat"].as_str().unwrap();
    let mut words = vec!["--compat", compat];
    words.extend(case["flags"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    let settings = vllm::parse(&words).plan(None, None).unwrap().run.settings;
    RunSettings { date: "20260102-030405".to_owned(), ..settings }
}

fn record(index: usize, case: &Value, tokenizer: &Tokenizer) -> RequestRecord {
    let seconds = |key: &str| case[key].as_f64().unwrap();
    let text = case["generated_text"].as_str().unwrap();
    let success = case["success"].as_bool().unwrap();
    let counted = case["output_tokens"].as_u64().unwrap() as usize;
    let output_tokens = match counted {
        0 if success => tokenizer.encode(text, false).unwrap().len(),
        counted => counted,
    };
    let message = case["error"].as_str().unwrap();
    RequestRecord {
        index,
        // The recording's clock stands still while requests are made.
        due: 0.0,
        start: seconds("start_time"),
        prompt_tokens: case["prompt_len"].as_u64().unwrap() as usize,
        output_tokens,
        ttft: seconds("ttft"),
        itl: case["itl"].as_array().unwrap().iter().map(|gap| gap.as_f64().unwrap()).collect(),
        latency: seconds("latency"),
        generated_text: text.to_owned(),
        failure: (!success).then(|| Failure::new(FailureKind::Status, message)),
        ..RequestRecord::default()
    }
}

fn outcome(case: &Value, tokenizer: &Tokenizer) -> BenchOutcome {
    let settings = settings(case);
    let requests: Vec<RequestRecord> = case["requests"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(index, request)| record(index, request, tokenizer))
        .collect();
    let duration = case["duration"].as_f64().unwrap();
    let metrics = Metrics::new(&requests, duration, &settings);
    BenchOutcome {
        settings,
        server: ServerFacts::default(),
        requests,
        duration,
        metrics,
        rate_changes: Vec::new(),
        interrupted: false,
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_dir(&vllm::workspace().join("models/robot")).unwrap()
}

#[test]
fn block_and_file_are_those_of_vllm() {
    let tokenizer = tokenizer();
    let folder = tempfile::tempdir().unwrap();
    for case in serde_json::from_str::<Vec<Value>>(GOLDEN).unwrap() {
        let outcome = outcome(&case, &tokenizer);
        let what = format!("{} {}", case["compat"], case["flags"]);
        assert_eq!(outcome.result_block(), case["block"].as_str().unwrap(), "{what}");
        let file = ResultFile {
            dir: Some(folder.path().join("made")),
            detailed: what.contains("--save-detailed"),
            ..ResultFile::default()
        };
        let written = std::fs::read_to_string(file.write(&outcome).unwrap()).unwrap();
        assert_eq!(written, case["result"].as_str().unwrap(), "{what}");
    }
}

#[test]
fn files_are_named_as_by_vllm_and_appended_to_line_by_line() {
    let tokenizer = tokenizer();
    let cases: Vec<Value> = serde_json::from_str(GOLDEN).unwrap();
    let mut outcome = outcome(&cases[1], &tokenizer);
    let folder = tempfile::tempdir().unwrap();
    let file =
        ResultFile { dir: Some(folder.path().to_owned()), append: true, ..ResultFile::default() };
    let path = file.write(&outcome).unwrap();
    assert_eq!(
        path.file_name().unwrap().to_str().unwrap(),
        "a b-2.5qps-concurrency4-Qwen3-8B-20260102-030405.json"
    );
    file.write(&outcome).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], lines[1]);
    outcome.settings.label = None;
    outcome.settings.request_rate = None;
    outcome.settings.max_concurrency = None;
    let name = file.write(&outcome).unwrap();
    assert_eq!(
        name.file_name().unwrap().to_str().unwrap(),
        "openai-infqps-Qwen3-8B-20260102-030405.json"
    );
}

/// An outcome survives being written as JSON and read again, which reports rely on.
#[test]
fn an_outcome_is_read_as_it_was_written() {
    let cases: Vec<Value> = serde_json::from_str(GOLDEN).unwrap();
    let outcome = outcome(&cases[7], &tokenizer());
    let text = serde_json::to_string(&outcome).unwrap();
    // Without printing both, which are long.
    assert!(serde_json::from_str::<BenchOutcome>(&text).unwrap() == outcome);
}
