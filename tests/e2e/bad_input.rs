//! Wrong requests get a clear answer and leave the server as it was.

use std::io::Write;

use eitri_tests::{Server, read_all, smollm2};
use serde_json::{Value, json};

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}

#[test]
fn wrong_requests_name_their_fault_and_the_server_goes_on() {
    let server = Server::start(&smollm2().unwrap(), &["--served-model-name", "m"]).unwrap();
    let cases: &[(Value, &str)] = &[
        (json!({"prompt": "x", "max_tokens": -1}), "max_tokens"),
        (json!({"prompt": "x", "temperature": -0.5}), "temperature"),
        (json!({"prompt": "x", "top_p": 0}), "top_p"),
        (json!({"prompt": [[1, 2], [49_152_000]]}), "vocabulary"),
        (json!({"prompt": "x", "logit_bias": {"99999999": 1}}), "logit_bias"),
        (json!({"prompt": vec![1; 9000], "max_tokens": 1}), "maximum context length"),
        (json!({"prompt": "x", "guided_json": {}}), "guided_json"),
        (json!({"max_tokens": 1}), "prompt"),
        (json!({"prompt": "x", "stream_options": {"include_usage": true}}), "stream"),
        (json!({"prompt": {"a": 1}}), "prompt"),
    ];
    for (body, expected) in cases {
        let (status, answer) = server.post("/v1/completions", body).unwrap();
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(message(&answer).contains(expected), "{body}: {answer}");
    }
    for bytes in [&b"{"[..], b"", b"\xff\xfe", b"{\"prompt\": \"\xc3\x28\"}", b"[1, 2]", b"null"] {
        let (status, answer) = server.post_bytes("/v1/completions", bytes).unwrap();
        assert_eq!(status, 400, "{bytes:?}: {answer}");
        assert!(!message(&answer).is_empty());
    }
    let (status, _) =
        server.post("/v1/completions", &json!({"prompt": "x", "max_tokens": 1})).unwrap();
    assert_eq!(status, 200);
}

#[test]
fn a_ten_megabyte_prompt_is_refused_for_its_length() {
    let server = Server::start(&smollm2().unwrap(), &["--served-model-name", "m"]).unwrap();
    let body = json!({"prompt": "a b ".repeat(2_500_000), "max_tokens": 1});
    let (status, answer) = server.post("/v1/completions", &body).unwrap();
    assert_eq!(status, 400, "{answer}");
    assert!(message(&answer).contains("maximum context length"), "{answer}");
    assert_eq!(server.get("/health").unwrap().0, 200);
}

#[test]
fn broken_http_is_answered_or_closed() {
    let server = Server::start(&smollm2().unwrap(), &[]).unwrap();
    for garbage in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"POST /v1/completions HTTP/9.9\r\n\r\n"]
    {
        let mut stream = server.connect().unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = read_all(&mut stream).unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.get("/health").unwrap().0, 200);
}
