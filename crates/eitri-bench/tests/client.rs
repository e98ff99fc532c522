//! What the client sends, and what it makes of answers and of faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod scripted;
#[cfg(feature = "https")]
mod secure;
mod vllm;

use std::{sync::Arc, time::Duration};

use eitri_bench::{
    Arrival, BenchError, Progress, RunControl, RunEvent,
    cli::ServeArgs,
    dataset::Sample,
    outcome::{BenchOutcome, FailureKind},
    run,
};
use eitri_text::Tokenizer;
use scripted::{After, Answer, Scripted};
use serde_json::{Value, json};
use tokio::sync::watch;

const TOKEN: &str = r#"{"choices": [{"index": 0, "text": "go ", "finish_reason": null}]}"#;
const LAST: &str = r#"{"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}"#;
const USAGE: &str = r#"{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9,
    "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 4}}}"#;

fn whole_answer() -> Answer {
    Answer::stream(&[TOKEN, TOKEN, LAST, &USAGE.replace('\n', ""), "[DONE]"])
}

fn arguments(base_url: &str, flags: &str) -> ServeArgs {
    let tokenizer = vllm::workspace().join("models/robot");
    let mut words = vec!["--base-url", base_url, "--tokenizer", tokenizer.to_str().unwrap()];
    words.extend(["--model", "sim"]);
    words.extend(flags.split_whitespace());
    vllm::parse(&words)
}

fn samples(count: usize) -> Vec<Sample> {
    let sample =
        |index| Sample { prompt: format!("prompt {index}"), prompt_tokens: 3, output_tokens: 9 };
    (0..count).map(sample).collect()
}

struct Control {
    control: RunControl,
    stop: watch::Sender<bool>,
}

fn control() -> Control {
    let (sender, stop) = watch::channel(false);
    Control { control: RunControl { progress: Arc::new(Progress::default()), stop }, stop: sender }
}

/// Runs with a limit, so that a hang is a failure of the test.
async fn measure(
    base_url: &str,
    flags: &str,
    count: usize,
    control: &RunControl,
) -> Result<BenchOutcome, BenchError> {
    let options = arguments(base_url, flags).plan(None, None)?.run;
    let arrivals = vec![Arrival { time: 0.0, rate: f64::INFINITY }; count];
    let tokenizer = Tokenizer::from_dir(&vllm::workspace().join("models/robot")).unwrap();
    let mut events = Vec::new();
    let work = run(options, samples(count), &arrivals, Some(&tokenizer), control, |event| {
        events.push(event);
    });
    let outcome = tokio::time::timeout(Duration::from_mins(1), work).await.expect("hangs");
    assert_eq!(outcome.is_ok(), events.last() == Some(&RunEvent::Started));
    outcome
}

async fn outcome(server: &Scripted, flags: &str, count: usize) -> BenchOutcome {
    let flags = format!("--ready-check-timeout-sec 0 {flags}");
    measure(&server.base_url(), &flags, count, &control().control).await.unwrap()
}

/// The kinds of failures of a run whose requests all get `answer`.
async fn failures(answer: Answer, flags: &str) -> Vec<(FailureKind, String)> {
    let server = Scripted::start(move |_| answer.clone()).await;
    let outcome = outcome(&server, flags, 3).await;
    assert_eq!((outcome.metrics.completed, outcome.metrics.failed), (0, 3));
    assert_eq!(outcome.metrics.total_output_tokens, 0);
    let failures = outcome.requests.into_iter().map(|record| record.failure.unwrap());
    failures.map(|failure| (failure.kind, failure.message)).collect()
}

async fn assert_fails(answer: Answer, kind: FailureKind, part: &str) {
    for (found, message) in failures(answer, "").await {
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn an_answer_is_measured() {
    let server = Scripted::start(|_| whole_answer()).await;
    let outcome = outcome(&server, "--max-concurrency 1", 4).await;
    assert_eq!(outcome.metrics.completed, 4);
    assert_eq!(outcome.metrics.total_input_tokens, 12);
    assert_eq!(outcome.metrics.total_output_tokens, 36);
    assert_eq!(outcome.metrics.cached_prompt_tokens, Some(16));
    for (index, record) in outcome.requests.iter().enumerate() {
        assert_eq!(record.index, index);
        assert_eq!(record.generated_text, "go go ");
        assert_eq!((record.output_tokens, record.output_tokens_from_usage), (9, true));
        assert_eq!(record.server_prompt_tokens, Some(5));
        assert_eq!(record.finish_reason.as_deref(), Some("stop"));
        assert_eq!(record.itl.len(), 2);
        assert!(record.ttft > 0.0 && record.start >= record.due);
        let gaps: f64 = record.itl.iter().sum();
        assert!((record.ttft + gaps - record.latency).abs() < 1e-9);
    }
    // One after the other over one connection, beside that for pages about the server.
    assert!(server.connections() <= 2, "{} connections", server.connections());
}

#[tokio::test]
async fn requests_are_those_of_the_releases() {
    let server = Scripted::start(|_| whole_answer()).await;
    let flags = "--max-concurrency 1 --top-p 0.5 --extra-body {\"seed\":7} --header x-a=b=c";
    for (compat, expected, headers) in [
        (
            "vllm-0.10",
            json!({"model": "sim", "prompt": "prompt 0", "repetition_penalty": 1.0,
                "max_tokens": 9, "logprobs": null, "stream": true,
                "stream_options": {"include_usage": true}, "temperature": 0.0, "top_p": 0.5,
                "seed": 7}),
            &["authorization: bearer none", "x-a: b=c"][..],
        ),
        (
            "vllm-0.32",
            json!({"model": "sim", "prompt": "prompt 0", "repetition_penalty": 1.0,
                "max_tokens": 9, "logprobs": null, "stream": true,
                "stream_options": {"include_usage": true}, "ignore_eos": true, "top_p": 0.5,
                "seed": 7}),
            &["x-request-id: bench-00000000-0"],
        ),
    ] {
        outcome(&server, &format!("{flags} --compat {compat}"), 1).await;
        let request = server.received().pop().unwrap();
        assert_eq!(request.body, expected, "{compat}");
        assert!(request.head.starts_with("POST /v1/completions http/1.1"), "{}", request.head);
        for header in headers {
            assert!(request.head.contains(&format!("{header}\r\n")), "{}", request.head);
        }
    }
}

#[tokio::test]
async fn chats_and_responses_are_understood() {
    let chat = Answer::stream(&[
        r#"{"choices": [{"delta": {"role": "assistant", "content": ""}}]}"#,
        r#"{"choices": [{"delta": {"content": "hi"}, "finish_reason": "length"}]}"#,
        r#"{"choices": [], "usage": {"completion_tokens": 1, "prompt_tokens": 2}}"#,
        "[DONE]",
    ]);
    let server = Scripted::start(move |_| chat.clone()).await;
    let chatted = outcome(&server, "--endpoint-type openai-chat", 1).await;
    let record = &chatted.requests[0];
    assert_eq!((record.generated_text.as_str(), record.output_tokens), ("hi", 1));
    // The usage event, too, moves the end of a chat with this release.
    assert!(record.latency > record.ttft + record.itl[0]);
    let sent = server.received().pop().unwrap();
    assert!(sent.head.starts_with("POST /v1/chat/completions"));
    let content = json!([{"type": "text", "text": "prompt 0"}]);
    assert_eq!(sent.body["messages"], json!([{"role": "user", "content": content}]));
    assert_eq!(sent.body["max_completion_tokens"], 9);

    let response = Answer::stream(&[
        r#"{"type": "response.created"}"#,
        r#"{"type": "response.reasoning_text.delta", "delta": "hm"}"#,
        r#"{"type": "response.output_text.delta", "delta": "yes"}"#,
        r#"{"type": "response.completed", "response": {"status": "completed", "usage":
            {"input_tokens": 3, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}}}"#
            .replace('\n', "")
            .as_str(),
    ]);
    let server = Scripted::start(move |_| response.clone()).await;
    let flags = "--compat vllm-0.32 --backend openai-responses";
    let responded = outcome(&server, flags, 1).await;
    let record = &responded.requests[0];
    assert_eq!(record.failure, None);
    assert_eq!((record.generated_text.as_str(), record.output_tokens), ("yes", 2));
    assert_eq!((record.itl.len(), record.cached_prompt_tokens), (1, Some(1)));
    assert_eq!(server.received()[0].body["input"], "prompt 0");
}

#[tokio::test]
async fn without_a_usage_record_the_client_counts() {
    let server = Scripted::start(|_| Answer::stream(&[TOKEN, TOKEN, "[DONE]"])).await;
    let outcome = outcome(&server, "", 1).await;
    let tokenizer = Tokenizer::from_dir(&vllm::workspace().join("models/robot")).unwrap();
    let expected = tokenizer.encode("go go ", false).unwrap().len();
    assert_eq!(outcome.metrics.total_output_tokens, expected);
    assert!(!outcome.requests[0].output_tokens_from_usage);
    assert_eq!(outcome.metrics.cached_prompt_tokens, None);
}

#[tokio::test]
async fn refusals_carry_the_servers_words() {
    let body = r#"{"error": {"message": "out of memory", "code": 500}}"#;
    let answer = Answer::page("500 Internal Server Error", "application/json", body);
    let expected = "status 500 Internal Server Error: out of memory";
    assert_fails(answer, FailureKind::Status, expected).await;
    let plain = Answer::page("503 Service Unavailable", "text/html", "busy");
    assert_fails(plain, FailureKind::Status, "busy").await;
    let body = r#"{"detail": "no such prompt"}"#;
    let refused = Answer::page("422 Unprocessable Entity", "application/json", body);
    assert_fails(refused, FailureKind::Refused, "no such prompt").await;
}

#[tokio::test]
async fn a_broken_connection_is_told() {
    let cut = Answer::open_stream(&[TOKEN]);
    assert_fails(cut, FailureKind::Disconnected, "").await;
    let nothing = Answer { bytes: Vec::new(), after: After::Close };
    assert_fails(nothing, FailureKind::Disconnected, "").await;
    let unended = Answer::stream(&[TOKEN, TOKEN]);
    assert_fails(unended, FailureKind::Disconnected, "without saying").await;
}

#[tokio::test]
async fn what_is_no_stream_of_the_api_is_told() {
    let broken = Answer::stream(&[TOKEN, r#"{"choices": [{"te"#, "[DONE]"]);
    assert_fails(broken, FailureKind::Malformed, r#"{"choices": [{"te"#).await;
    let page = Answer::page("200 OK", "application/json", r#"{"choices": []}"#);
    assert_fails(page, FailureKind::Malformed, "instead of a stream").await;
    let no_http = Answer { bytes: b"SSH-2.0-server\r\n".to_vec(), after: After::Hang };
    assert_fails(no_http, FailureKind::Malformed, "").await;
    let empty = Answer::stream(&[": nothing", "[DONE]"]);
    assert_fails(empty, FailureKind::Malformed, "").await;
    let no_token = Answer::stream(&["[DONE]"]);
    assert_fails(no_token, FailureKind::NoTokens, "").await;
    let error = Answer::stream(&[TOKEN, r#"{"error": {"message": "engine died"}}"#, "[DONE]"]);
    assert_fails(error, FailureKind::ServerError, "engine died").await;
}

#[tokio::test]
async fn silence_ends_a_request() {
    let no_headers = Answer { bytes: Vec::new(), after: After::Hang };
    let half_a_head = Answer { bytes: b"HTTP/1.1 200 OK\r\nconte".to_vec(), after: After::Hang };
    let stalled = Answer::open_stream(&[TOKEN]).then(After::Hang);
    for answer in [no_headers, half_a_head, stalled.clone()] {
        for (kind, message) in failures(answer, "--stall-timeout-sec 1").await {
            assert_eq!(kind, FailureKind::Timeout, "{message}");
            assert_eq!(message, "nothing came for 1 s");
        }
    }
    for (kind, message) in failures(stalled, "--request-timeout-sec 1").await {
        assert_eq!(kind, FailureKind::Timeout, "{message}");
        assert_eq!(message, "not answered within 1 s");
    }
}

#[tokio::test]
async fn a_server_that_dies_in_mid_run_fails_the_rest() {
    let server = Scripted::start(|number| match number {
        0..4 => whole_answer(),
        _ => Answer::open_stream(&[TOKEN]),
    })
    .await;
    let outcome = outcome(&server, "--max-concurrency 2", 10).await;
    assert_eq!((outcome.metrics.completed, outcome.metrics.failed), (4, 6));
    assert_eq!(outcome.metrics.total_output_tokens, 36);
}

/// As servers do that close a connection some time after an answer, which the client may learn only
/// when it has sent the next request.
#[tokio::test]
async fn a_kept_connection_that_ends_is_replaced() {
    let server = Scripted::start(|number| match number {
        2 => Answer { bytes: Vec::new(), after: After::Close },
        _ => whole_answer(),
    })
    .await;
    let flags = "--max-concurrency 1 --ready-check-timeout-sec 0";
    let outcome = measure(&server.base_url(), flags, 4, &control().control).await.unwrap();
    assert_eq!((outcome.metrics.completed, outcome.metrics.failed), (4, 0));
    assert_eq!(server.received().len(), 5);
}

#[tokio::test]
async fn a_refused_connection_is_counted_and_not_waited_for() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let base_url = format!("http://{free}");
    let control = control();
    let flags = "--ready-check-timeout-sec 0";
    let outcome = measure(&base_url, flags, 2, &control.control).await.unwrap();
    assert_eq!(outcome.metrics.failed, 2);
    for record in &outcome.requests {
        assert_eq!(record.failure.as_ref().unwrap().kind, FailureKind::Connect);
    }
    let error = measure(&base_url, "--ready-check-timeout-sec 1", 2, &control.control).await;
    assert!(error.unwrap_err().to_string().contains("cannot connect"));
}

#[tokio::test]
async fn a_wrong_model_name_ends_the_wait_for_the_server() {
    let body = r#"{"error": {"message": "The model `sim` does not exist."}}"#;
    let server =
        Scripted::start(move |_| Answer::page("404 Not Found", "application/json", body)).await;
    let error = measure(&server.base_url(), "", 2, &control().control).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("/v1/completions: the first request failed"), "{message}");
    assert!(message.contains("The model `sim` does not exist."), "{message}");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn the_first_prompt_is_tried_and_repeated_before_the_run() {
    let server = Scripted::start(|_| whole_answer()).await;
    let control = control();
    let flags = "--num-warmups 2 --max-concurrency 1";
    let outcome = measure(&server.base_url(), flags, 2, &control.control).await.unwrap();
    assert_eq!(outcome.requests.len(), 2);
    let prompts: Vec<Value> =
        server.received().into_iter().map(|request| request.body["prompt"].clone()).collect();
    assert_eq!(prompts, ["prompt 0", "prompt 0", "prompt 0", "prompt 0", "prompt 1"]);
}

#[tokio::test]
async fn a_stopped_run_keeps_what_was_measured() {
    let server = Scripted::start(|number| match number {
        0 => whole_answer(),
        _ => Answer::open_stream(&[TOKEN, TOKEN]).then(After::Hang),
    })
    .await;
    let Control { control, stop } = control();
    let progress = Arc::clone(&control.progress);
    let stopper = async move {
        // Three events of the first answer, two of the second.
        while progress.tokens() < 5 {
            tokio::task::yield_now().await;
        }
        stop.send(true).unwrap();
    };
    let base_url = server.base_url();
    let flags = "--ready-check-timeout-sec 0 --max-concurrency 1";
    let (outcome, ()) = tokio::join!(measure(&base_url, flags, 50, &control), stopper);
    let outcome = outcome.unwrap();
    assert!(outcome.interrupted);
    assert_eq!((outcome.metrics.completed, outcome.metrics.failed), (1, 1));
    let cut = &outcome.requests[1];
    assert_eq!(cut.failure.as_ref().unwrap().kind, FailureKind::Interrupted);
    assert_eq!((cut.generated_text.as_str(), cut.itl.len()), ("go go ", 1));
    assert_eq!(outcome.requests.len(), 2, "what had not been sent is no failure");
}
