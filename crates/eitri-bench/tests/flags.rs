//! What flags come to, and which are refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod vllm;

use std::time::Duration;

use eitri_bench::{
    Api, BenchError, FirstModel,
    cli::Plan,
    dataset::{Dataset, RandomLengths},
    outcome::MetricKind,
};

fn try_plan(flags: &str) -> Result<Plan, BenchError> {
    let words: Vec<&str> = flags.split_whitespace().collect();
    vllm::parse(&words).plan(None, None)
}

fn plan(flags: &str) -> Plan {
    let flags = format!("--model m --tokenizer t {flags}");
    try_plan(&flags).unwrap_or_else(|error| panic!("{flags}: {error}"))
}

fn refused(flags: &str) -> String {
    let flags = format!("--model m --tokenizer t {flags}");
    try_plan(&flags).map(|plan| panic!("{flags}: {plan:?}")).unwrap_err().to_string()
}

#[test]
fn defaults_are_those_of_the_release() {
    let oldest = plan("");
    assert_eq!(oldest.run.base_url, "http://127.0.0.1:8000");
    assert_eq!(oldest.run.ready_timeout, Some(Duration::from_mins(10)));
    assert_eq!(oldest.run.request.request_id_prefix, None);
    let settings = &oldest.run.settings;
    assert_eq!((settings.backend.as_str(), settings.endpoint_type.as_str()), ("vllm", "openai"));
    assert_eq!((settings.request_rate, settings.max_concurrency), (None, None));
    assert_eq!(settings.percentile_metrics, [MetricKind::Ttft, MetricKind::Tpot, MetricKind::Itl]);
    assert!(!oldest.run.request.ignore_eos && oldest.result.is_none());
    assert_eq!(oldest.dataset, Dataset::Random(RandomLengths::default()));
    let newest = plan("--compat vllm-0.32");
    assert_eq!((newest.run.ready_timeout, newest.run.request.ignore_eos), (None, true));
    assert!(newest.aligns_prompts() && !oldest.aligns_prompts());
    let custom = plan("--compat vllm-0.32 --dataset-name custom --dataset-path f.jsonl");
    assert!(!custom.run.request.ignore_eos && !custom.aligns_prompts());
}

#[test]
fn the_backend_decides_over_the_path() {
    for (flags, api, path) in [
        ("--endpoint-type openai-chat", Api::Chat, "/v1/chat/completions"),
        ("--backend openai-chat", Api::Completions, "/v1/completions"),
        ("--compat vllm-0.11 --backend openai-chat", Api::Chat, "/v1/chat/completions"),
        ("--compat vllm-0.32 --backend openai-responses", Api::Responses, "/v1/responses"),
        ("--endpoint /other/completions", Api::Completions, "/other/completions"),
    ] {
        let request = plan(flags).run.request;
        assert_eq!((request.api, request.endpoint.as_str()), (api, path), "{flags}");
    }
}

#[test]
fn without_a_model_the_servers_first_is_taken() {
    let words = ["--compat", "vllm-0.32", "--tokenizer", "t"];
    let first = FirstModel { id: "name".to_owned(), root: Some("org/model".to_owned()) };
    let plan = vllm::parse(&words).plan(Some(&first), None).unwrap();
    assert_eq!(plan.run.request.model, "name");
    assert_eq!(plan.run.settings.model_id, "org/model");
    assert!(try_plan("--tokenizer t").unwrap_err().to_string().contains("--model"));
}

#[test]
fn sampling_flags_go_into_requests_and_extra_body_over_them() {
    let flags = r#"--temperature 0.5 --top-k -1 --extra-body {"temperature":1,"x":[2]}"#;
    let body = serde_json::to_string(&plan(flags).run.request.extra_body).unwrap();
    assert_eq!(body, r#"{"top_k":-1,"temperature":1,"x":[2]}"#);
}

#[test]
fn what_has_no_meaning_is_refused_by_name() {
    for (flags, part) in [
        ("--request-rate 0", "--request-rate: 0 is out of range"),
        ("--burstiness inf", "--burstiness"),
        ("--max-concurrency 0", "--max-concurrency: 0 is too few"),
        ("--dataset-name sharegpt", "--dataset-path: it is missing"),
        ("--dataset-path f", "--dataset-path: the data set needs no file"),
        ("--random-range-ratio x", "--random-range-ratio: \"x\" is no share"),
        ("--random-range-ratio {\"input\":0.1,\"output\":0.2}", "vllm-0.32"),
        ("--percentile-metrics ttft,e2e", "\"e2e\" is no metric"),
        ("--percentile-metrics client_queue_time", "no metric"),
        ("--metric-percentiles 101", "\"101\" is no percentile"),
        ("--goodput itl:5", "\"itl:5\" is no service level"),
        ("--metadata x", "--metadata: \"x\" should be KEY=VALUE"),
        ("--extra-body []", "--extra-body: not a JSON object"),
        ("--endpoint /v1/chat/completions", "does not fit the backend"),
        ("--custom-output-len -2 --dataset-name custom --dataset-path f", "--custom-output-len"),
        (
            "--ramp-up-strategy linear --ramp-up-start-rps 3 --ramp-up-end-rps 2",
            "--ramp-up-start-rps: 3 is out of range",
        ),
        (
            "--request-rate 1 --ramp-up-strategy linear --ramp-up-start-rps 1 --ramp-up-end-rps 2",
            "--request-rate: the rate of a ramp-up",
        ),
        ("--profile", "--profile"),
        ("--lora-modules a b", "adapters"),
        ("--probe-request-rate 1", "--probe-request-rate"),
        ("--self-timed", "--self-timed"),
        ("--skip-tokenizer-init", "--skip-tokenizer-init"),
    ] {
        let message = refused(flags);
        assert!(message.contains(part), "{flags}: {message}");
    }
    let message = try_plan("--model m").unwrap_err().to_string();
    assert!(message.contains("--tokenizer: it is missing"), "{message}");
}

#[test]
fn lengths_that_cannot_be_are_refused_before_anything_is_sent() {
    let robot = vllm::workspace().join("models/robot");
    for (flags, part) in [
        ("--num-prompts 0", "--num-prompts: 0 is too few"),
        ("--random-range-ratio 1", "--random-range-ratio: 1 is out of range"),
        (
            "--dataset-name prefix_repetition --num-prompts 3",
            "--prefix-repetition-num-prefixes: 10 is out of range",
        ),
        ("--dataset-name sonnet --dataset-path DATA/lines.txt --sonnet-input-len 5", "too short"),
        ("--dataset-name sharegpt --dataset-path DATA/lines.txt", "not a list of conversations"),
        ("--dataset-name custom --dataset-path DATA/lines.txt", "line 1: no object with a prompt"),
        ("--dataset-name burstgpt --dataset-path DATA/lines.txt", "no column \"Model\""),
        ("--dataset-name custom --dataset-path DATA/none.jsonl", "none.jsonl"),
    ] {
        let message = vllm::plan("vllm-0.10", flags, &robot).prepare().unwrap_err().to_string();
        assert!(message.contains(part), "{flags}: {message}");
    }
}

#[test]
fn neutral_flags_are_noted() {
    let flags = "--trust-remote-code --no-stream --use-beam-search --tokenizer-mode auto";
    let words: Vec<&str> = flags.split_whitespace().collect();
    assert_eq!(vllm::parse(&words).notes().len(), 4);
    assert_eq!(vllm::parse(&[]).notes(), [""; 0]);
    assert_eq!(vllm::parse(&["--save-detailed"]).notes().len(), 1);
}
