//! Sends damaged requests through the whole server: `cargo bench -p eitri-server --bench
//! fuzz_requests -- 1000000`. It stops with a panic at the first that is not answered or blamed on
//! the server, and prints how it went.

#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared with the tests, which use the rest and fail by panicking"
)]
#[path = "../tests/server/support.rs"]
mod support;

use std::time::Instant;

use axum::http::StatusCode;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use support::{TestServer, server};

/// Requests per route when no count is given.
const DEFAULT_COUNT: u64 = 30_000;
const SEED: u64 = 1;

#[allow(clippy::print_stdout, clippy::panic, reason = "its output and its panics are its result")]
fn main() {
    let count = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(DEFAULT_COUNT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    runtime.block_on(async {
        for (path, body) in bodies() {
            let server = server();
            let mut rng = StdRng::seed_from_u64(SEED);
            let start = Instant::now();
            let mut accepted = 0;
            for _ in 0..count {
                accepted += u64::from(feed(&server, path, &body, &mut rng).await);
            }
            let seconds = start.elapsed().as_secs_f64();
            println!("{path}: {count} damaged requests, {accepted} still valid, {seconds:.1} s");
        }
    });
}

/// A body for each route with as many fields as it has kinds of values.
fn bodies() -> [(&'static str, Value); 4] {
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d",
                      "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}});
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
    [
        (
            "/v1/chat/completions",
            json!({
                "model": "sim", "max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "seed": 3, "n": 1,
                "stop": ["x", "yz"], "logprobs": true, "top_logprobs": 2, "stream": true,
                "stream_options": {"include_usage": true}, "tool_choice": "none", "tools": [tool],
                "chat_template_kwargs": {"suffix": "!"}, "logit_bias": {"65": 1.5},
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": [{"type": "text", "text": "é"}]},
                    {"role": "assistant", "content": null, "reasoning": "r", "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "1", "content": "ok"},
                ],
            }),
        ),
        (
            "/v1/completions",
            json!({
                "prompt": ["a", "bc"], "max_tokens": 2, "echo": true, "logprobs": 1, "n": 2,
                "temperature": 1.0, "top_k": 5, "min_p": 0.1, "presence_penalty": 0.5,
                "repetition_penalty": 1.1, "stop_token_ids": [5, 6], "ignore_eos": true,
                "return_token_ids": true, "priority": 1, "cache_salt": "s", "request_id": "r",
            }),
        ),
        ("/tokenize", json!({"messages": [{"role": "user", "content": "x"}], "tools": [tool]})),
        ("/detokenize", json!({"tokens": [104, 105, 256, 200]})),
    ]
}

/// Whether a damaged request was still answered.
async fn feed(server: &TestServer, path: &str, body: &Value, rng: &mut StdRng) -> bool {
    let mut body = body.clone();
    for _ in 0..rng.random_range(0..3) {
        damage_value(&mut body, rng);
    }
    let mut bytes = body.to_string().into_bytes();
    for _ in 0..rng.random_range(0..3) {
        damage_bytes(&mut bytes, rng);
    }
    let (status, answer) = server.post_raw(path, bytes.clone()).await;
    let shown = || String::from_utf8_lossy(&bytes).into_owned();
    assert!(!status.is_server_error(), "{status} for {}: {answer}", shown());
    if status != StatusCode::OK {
        let error: Result<Value, _> = serde_json::from_str(&answer);
        let message = error.ok().and_then(|e| e["error"]["message"].as_str().map(str::len));
        assert!(message.is_some_and(|len| len > 0), "{status} for {}: {answer}", shown());
    }
    status == StatusCode::OK
}

/// Replaces, removes or repeats one value somewhere inside.
fn damage_value(value: &mut Value, rng: &mut StdRng) {
    let deeper = rng.random_bool(0.7);
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let at = rng.random_range(0..fields.len());
            let key = fields.keys().nth(at).cloned().unwrap_or_default();
            if rng.random_bool(0.1) {
                fields.remove(&key);
            } else if let Some(field) = fields.get_mut(&key) {
                damage_value(field, rng);
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = rng.random_range(0..items.len());
            if rng.random_bool(0.1) {
                let item = items[at].clone();
                items.push(item);
            } else {
                damage_value(&mut items[at], rng);
            }
        }
        other => *other = odd_value(rng),
    }
}

fn odd_value(rng: &mut StdRng) -> Value {
    let small =
        [json!(null), json!(true), json!(""), json!([]), json!({}), json!("\u{0}\u{fffd}😀")];
    let numbers =
        [json!(-1), json!(0), json!(1e308), json!(i64::MIN), json!(u64::MAX), json!(0.5), json!(1)];
    let texts = ["auto", "user", "<tool_call>", "{{ x }}", "function", "1", "-1", "1e9", "nan"];
    match rng.random_range(0..5) {
        0 => numbers.choose(rng).cloned().unwrap_or_default(),
        1 => json!(texts.choose(rng)),
        2 => json!([small.choose(rng), numbers.choose(rng)]),
        3 => json!({"type": texts.choose(rng), "x": small.choose(rng)}),
        _ => small.choose(rng).cloned().unwrap_or_default(),
    }
}

fn damage_bytes(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    let at = rng.random_range(0..bytes.len().max(1));
    let structural = b"{}[],:\"\\0e-";
    match rng.random_range(0..5) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 if at < bytes.len() => bytes[at] = *structural.choose(rng).unwrap_or(&b'{'),
        3 => bytes.insert(at.min(bytes.len()), rng.random()),
        _ if at < bytes.len() => drop(bytes.remove(at)),
        _ => {}
    }
}
