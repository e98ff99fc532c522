//! What is refused, and how.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use eitri_server::ServerConfig;
use serde_json::{Value, json};

use crate::support::{Options, TestServer, server, text};

/// Sends `base` with `fields` and checks the error.
async fn refused(server: &TestServer, path: &str, body: &Value, param: Value, message: &str) {
    let (status, answer) = server.post(path, body.clone()).await;
    let shown: String = body.to_string().chars().take(200).collect();
    assert_eq!(status, StatusCode::BAD_REQUEST, "{shown}: {answer}");
    let error = &answer["error"];
    assert_eq!(answer.as_object().unwrap().len(), 1);
    assert_eq!(error["param"], param, "{shown}: {error}");
    assert_eq!(error["code"], 400);
    let found = error["message"].as_str().unwrap();
    assert!(found.contains(message), "{shown}: {found}");
    let kind = error["type"].as_str().unwrap();
    assert!(["BadRequestError", "Bad Request"].contains(&kind), "{kind}");
}

#[tokio::test]
async fn fields_that_both_routes_share() {
    let server = server();
    let table = [
        (json!({"temperature": -1}), "temperature", "in [0, 2]"),
        (json!({"temperature": 2.5}), "temperature", "in [0, 2]"),
        (json!({"temperature": "hot"}), "temperature", "expected a number"),
        (json!({"top_p": 0}), "top_p", "in (0, 1]"),
        (json!({"top_p": 1.5}), "top_p", "in (0, 1]"),
        (json!({"top_k": -2}), "top_k", "-1 or 0"),
        (json!({"min_p": 2}), "min_p", "in [0, 1]"),
        (json!({"repetition_penalty": 0}), "repetition_penalty", "greater than 0"),
        (json!({"presence_penalty": 3}), "presence_penalty", "in [-2, 2]"),
        (json!({"frequency_penalty": -3}), "frequency_penalty", "in [-2, 2]"),
        (json!({"max_tokens": 0}), "max_tokens", "at least 1, got 0"),
        (json!({"max_tokens": -1}), "max_tokens", "at least 1, got -1"),
        (json!({"max_tokens": 1.5}), "max_tokens", "expected a 64-bit integer"),
        (json!({"max_tokens": 4, "min_tokens": 5}), "min_tokens", "at most max_tokens"),
        (json!({"n": 0}), "n", "1..=128"),
        (json!({"n": 129}), "n", "1..=128"),
        (json!({"n": 2, "temperature": 0}), "n", "must be 1"),
        (json!({"logit_bias": {"259": 1}}), "logit_bias", "0 to 258"),
        (json!({"logit_bias": {"a": 1}}), "logit_bias", "token `a`"),
        (json!({"stop": [""]}), "stop", "empty string"),
        (json!({"stop": vec!["x"; 17]}), "stop", "at most 16"),
        (json!({"stop": [1]}), "stop[0]", "expected a string"),
        (json!({"stop_token_ids": [259]}), "stop_token_ids", "out of vocabulary"),
        (json!({"stop_token_ids": ["x"]}), "stop_token_ids[0]", "expected an integer"),
        (json!({"prompt_logprobs": 21}), "prompt_logprobs", "0..=20"),
        (json!({"prompt_logprobs": 1, "stream": true}), "prompt_logprobs", "streamed"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options", "with stream"),
        (json!({"deadline_ms": 0}), "deadline_ms", "at least 1"),
        (json!({"max_ttft_ms": -5}), "max_ttft_ms", "at least 1"),
        (json!({"cache_salt": ""}), "cache_salt", "empty"),
        (json!({"ignore_eos": "maybe"}), "ignore_eos", "expected a boolean"),
    ];
    for (more, param, message) in table {
        for (path, mut body) in [
            ("/v1/completions", json!({"prompt": "x"})),
            ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "x"}]})),
        ] {
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            refused(&server, path, &body, json!(param), message).await;
        }
    }
    server.idle().await;
}

#[tokio::test]
async fn fields_that_are_not_supported_yet() {
    let server = server();
    let both = json!({
        "use_beam_search": true, "best_of": 4, "allowed_token_ids": [1], "bad_words": ["x"],
        "truncate_prompt_tokens": 5, "response_format": {"type": "json_object"},
        "structured_outputs": {"choice": ["a"]}, "guided_json": {}, "guided_regex": "a",
        "guided_choice": ["a"], "guided_grammar": "a", "length_penalty": 2, "vllm_xargs": {"a": 1},
    });
    let completions = json!({"suffix": "x"});
    let chat = json!({
        "documents": [], "echo": true, "functions": [], "reasoning_effort": "low",
        "modalities": ["audio"],
    });
    let completion_body = json!({"prompt": "x"});
    let chat_body = json!({"messages": [{"role": "user", "content": "x"}]});
    for (path, base, fields) in [
        ("/v1/completions", &completion_body, &both),
        ("/v1/completions", &completion_body, &completions),
        ("/v1/chat/completions", &chat_body, &both),
        ("/v1/chat/completions", &chat_body, &chat),
    ] {
        for (field, value) in fields.as_object().unwrap() {
            let mut body = base.clone();
            body[field] = value.clone();
            let message = format!("{field} is not supported yet");
            refused(&server, path, &body, json!(field), &message).await;
        }
    }
}

#[tokio::test]
async fn completions_only() {
    let server = server();
    let table = [
        (json!({}), json!("prompt"), "missing field"),
        (json!({"prompt": {"a": 1}}), json!("prompt"), "expected a string, a list"),
        (json!({"prompt": [1, "a"]}), json!("prompt[1]"), "expected u32"),
        (json!({"prompt": ""}), json!("prompt"), "no tokens"),
        (json!({"prompt": []}), json!("prompt"), "no tokens"),
        (json!({"prompt": ["a", ""]}), json!("prompt"), "no tokens"),
        (json!({"prompt": [5, 259]}), json!("prompt"), "token id 259, which is out of vocabulary"),
        (json!({"prompt": vec!["a"; 1025]}), json!("prompt"), "at most 1024"),
        (
            json!({"prompt": vec![1; 2048]}),
            json!("prompt"),
            "maximum context length is 2048 tokens, but the prompt has 2048 tokens",
        ),
        (json!({"prompt": "a", "logprobs": 21}), json!("logprobs"), "0..=20"),
        (json!({"prompt": "a", "echo": true, "max_tokens": -1}), json!("max_tokens"), "at least 0"),
    ];
    for (body, param, message) in table {
        refused(&server, "/v1/completions", &body, param, message).await;
    }
    server.idle().await;
}

#[tokio::test]
async fn chat_only() {
    let server = server();
    let user = json!([{"role": "user", "content": "x"}]);
    let image = json!([{"role": "user", "content": [
        {"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}},
    ]}]);
    let table = [
        (json!({"model": "sim"}), json!("messages"), "missing field"),
        (json!({"messages": "x"}), json!("messages"), "expected a sequence"),
        (json!({"messages": []}), json!("messages"), "at least one"),
        (json!({"messages": [{"content": "x"}]}), json!("messages[0].role"), "missing field"),
        (json!({"messages": image}), json!("messages[0].content[1].type"), "`image_url` is not"),
        (
            json!({"messages": user, "max_completion_tokens": 0}),
            json!("max_completion_tokens"),
            "at least 1",
        ),
        (
            json!({"messages": user, "logprobs": true, "top_logprobs": 21}),
            json!("top_logprobs"),
            "0..=20",
        ),
        (json!({"messages": user, "top_logprobs": 2}), json!("top_logprobs"), "with logprobs"),
        (
            json!({"messages": user, "continue_final_message": true, "add_generation_prompt": true}),
            json!("continue_final_message"),
            "cannot both be true",
        ),
        (
            json!({"messages": user, "continue_final_message": true}),
            json!("continue_final_message"),
            "cannot both be true",
        ),
        (json!({"messages": user, "chat_template": "x"}), json!("chat_template"), "not trusted"),
        (
            json!({"messages": user, "chat_template_kwargs": 5}),
            json!("chat_template_kwargs"),
            "expected a map",
        ),
    ];
    for (body, param, message) in table {
        refused(&server, "/v1/chat/completions", &body, param, message).await;
    }
}

#[tokio::test]
async fn an_unknown_model() {
    let server = server();
    for (path, body) in [
        ("/v1/completions", json!({"model": "nope", "prompt": "x"})),
        ("/v1/chat/completions", json!({"model": "nope", "messages": []})),
        ("/tokenize", json!({"model": "nope", "prompt": "x"})),
    ] {
        let (status, answer) = server.post(path, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let error = &answer["error"];
        assert_eq!(error["type"], "NotFoundError");
        assert_eq!((&error["param"], &error["code"]), (&json!("model"), &json!(404)));
        assert!(error["message"].as_str().unwrap().contains("`nope` does not exist"));
    }
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let server = server();
    let bodies: [&[u8]; 7] =
        [b"", b"{\"a\":", b"[1]", b"null", b"{\"prompt\": \"\xff\"}", b"\x00", b"{} {}"];
    for body in bodies {
        for path in ["/v1/completions", "/v1/chat/completions", "/detokenize"] {
            let (status, answer) = server.post_raw(path, body.to_vec()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body:?}: {answer}");
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["error"]["type"], "Bad Request");
            assert_eq!(answer["error"]["code"], 400);
        }
    }
    let (_, answer) = server.post_raw("/tokenize", b"{\"prompt\": \"\xff\"}".to_vec()).await;
    assert!(answer.contains("not valid UTF-8 at byte 12"), "{answer}");
}

#[tokio::test]
async fn content_types() {
    let server = server();
    let table = [
        (None, 400),
        (Some("text/plain"), 400),
        (Some("application/x-www-form-urlencoded"), 400),
        (Some("application/json"), 200),
        (Some("application/json; charset=utf-8"), 200),
        (Some("Application/JSON"), 200),
    ];
    for (content_type, expected) in table {
        let mut request = Request::post("/v1/completions").body(Body::from("{\"prompt\": \"x\"}"));
        if let Some(value) = content_type {
            let headers = request.as_mut().unwrap().headers_mut();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        }
        let (status, body) = text(server.send(request.unwrap()).await).await;
        assert_eq!(status.as_u16(), expected, "{content_type:?}: {body}");
    }
}

#[tokio::test]
async fn large_bodies() {
    let config = ServerConfig { max_body_bytes: 4 << 20, ..ServerConfig::default() };
    let server = TestServer::new(Options { config, ..Options::default() });
    let body = json!({ "prompt": vec![1; 1_500_000] });
    let message = "the prompt has 1500000 tokens";
    refused(&server, "/v1/completions", &body, json!("prompt"), message).await;
    let body = json!({ "prompt": "a".repeat(5 << 20) });
    let (status, answer) = server.post("/v1/completions", body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer["error"]["message"].as_str().unwrap().contains("4194304 bytes"));
    assert_eq!(answer["error"]["code"], 413);
}

#[tokio::test]
async fn a_refused_prompt_takes_the_others_with_it() {
    let server = server();
    let body = json!({"prompt": [vec![1; 10], vec![2; 5000]], "max_tokens": 2000});
    refused(&server, "/v1/completions", &body, json!("prompt"), "maximum context length").await;
    let stats = server.idle().await;
    assert_eq!(stats.finished.length, 0);
}
