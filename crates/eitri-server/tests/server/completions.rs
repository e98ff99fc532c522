//! `POST /v1/completions`, answered whole.

use axum::http::header;
use eitri_engine::SamplingParams;
use eitri_server::GenerationDefaults;
use serde_json::{Value, json};

use crate::support::{
    CONTEXT, Options, TestServer, oracle, oracle_with, post, prompt_with_new_char, server, text,
    with,
};

fn greedy(prompt: &str, max_tokens: usize) -> Value {
    json!({"model": "sim", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0})
}

#[tokio::test]
async fn the_whole_body() {
    let server = server();
    let mut request = post("/v1/completions", greedy("hello", 4).to_string());
    request.headers_mut().insert("x-request-id", "abc123".parse().unwrap());
    let response = server.send(request).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let (_, body) = text(response).await;
    let mut body: Value = serde_json::from_str(&body).unwrap();
    assert!(body["created"].take().as_u64().unwrap() > 1_700_000_000);
    let fingerprint = body["system_fingerprint"].take();
    let version = env!("CARGO_PKG_VERSION");
    let hash = fingerprint.as_str().unwrap().strip_prefix(&format!("eitri-{version}-")).unwrap();
    assert!(hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    let expected = json!({
        "id": "cmpl-abc123", "object": "text_completion", "created": null, "model": "sim",
        "choices": [{
            "index": 0, "text": oracle("hello", 4), "logprobs": null, "finish_reason": "length",
            "stop_reason": null, "prompt_logprobs": null,
        }],
        "service_tier": null, "system_fingerprint": null,
        "usage": {
            "prompt_tokens": 5, "total_tokens": 9, "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "kv_transfer_params": null,
    });
    assert_eq!(body.to_string(), expected.to_string());
}

#[tokio::test]
async fn prompts_of_four_kinds() {
    let server = server();
    let texts = async |prompt: Value| {
        let body = with(greedy("", 5), json!({ "prompt": prompt }));
        let answer = server.completion(body).await;
        let choices = answer["choices"].as_array().unwrap().clone();
        for (i, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], i);
        }
        assert_eq!(answer["usage"]["completion_tokens"], 5 * choices.len());
        choices.iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (ab, c) = (oracle("ab", 5), oracle("c", 5));
    assert_eq!(texts(json!("ab")).await, std::slice::from_ref(&ab));
    assert_eq!(texts(json!(["ab", "c"])).await, [ab.clone(), c.clone()]);
    assert_eq!(texts(json!([97, 98])).await, std::slice::from_ref(&ab));
    assert_eq!(texts(json!([[97, 98], [99]])).await, [ab, c]);
    server.idle().await;
}

#[tokio::test]
async fn choices_are_numbered_prompt_by_prompt() {
    let answer = server()
        .completion(json!({"prompt": ["a", "bc"], "n": 2, "seed": 7, "max_tokens": 9}))
        .await;
    let choice = |prompt: &str, index: u64| {
        let params =
            SamplingParams { seed: Some(7 + index), max_tokens: 9, ..SamplingParams::default() };
        oracle_with(prompt, &params, 9)
    };
    let expected = [choice("a", 0), choice("a", 1), choice("bc", 0), choice("bc", 1)];
    for (i, text) in expected.iter().enumerate() {
        assert_eq!(answer["choices"][i]["index"], i);
        assert_eq!(answer["choices"][i]["text"], json!(text));
    }
    assert_ne!(expected[0], expected[1]);
    assert_eq!(answer["usage"]["prompt_tokens"], 3, "a prompt counts once");
    assert_eq!(answer["usage"]["completion_tokens"], 36);
}

#[tokio::test]
async fn sixteen_tokens_unless_told() {
    let server = server();
    for body in [json!({"prompt": "a"}), json!({"prompt": "a", "max_tokens": null})] {
        let answer = server.completion(body).await;
        assert_eq!(answer["usage"]["completion_tokens"], 16);
        assert_eq!(answer["model"], "sim");
    }
}

#[tokio::test]
async fn what_the_context_leaves_is_the_limit() {
    let prompt = "x".repeat(CONTEXT - 3);
    let answer = server().completion(greedy(&prompt, 1_000_000)).await;
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer["usage"]["total_tokens"], CONTEXT);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn stop_strings() {
    let server = server();
    let (prompt, char) = prompt_with_new_char(20);
    let text = oracle(&prompt, 40);
    // Two tokens long, so that it is only found across a border.
    let stop: String = text.chars().skip(19).take(2).collect();
    assert!(stop.ends_with(char));
    for (include, kept) in [(false, 19), (true, 21)] {
        let body = with(
            greedy(&prompt, 40),
            json!({"stop": ["not there", stop], "include_stop_str_in_output": include}),
        );
        let answer = server.completion(body).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["text"], json!(text[..kept]));
        assert_eq!(choice["finish_reason"], "stop");
        assert_eq!(choice["stop_reason"], json!(stop));
        assert_eq!(answer["usage"]["completion_tokens"], 21);
    }
    let body = with(greedy(&prompt, 40), json!({"stop": stop, "min_tokens": 30}));
    let late = server.completion(body).await;
    assert!(late["usage"]["completion_tokens"].as_u64().unwrap() > 30);
    server.idle().await;
}

#[tokio::test]
async fn the_cache_is_reported_even_when_a_stop_string_ends_the_answer() {
    let server = server();
    let (prompt, char) = prompt_with_new_char(3);
    let prompt = prompt.as_str();
    let body = with(greedy(prompt, 40), json!({"stop": char.to_string()}));
    for cached in [0, prompt.len() - 1] {
        let answer = server.completion(body.clone()).await;
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], cached);
    }
    let salted = with(body, json!({"cache_salt": "mine"}));
    let answer = server.completion(salted).await;
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

#[tokio::test]
async fn stop_tokens_and_end_tokens() {
    let (prompt, char) = prompt_with_new_char(6);
    let text = oracle(&prompt, 10);
    let id = u32::from(char);
    let cut = |reason: Value| (text[..6].to_owned(), "stop", reason, 7);
    let full = (text.clone(), "length", Value::Null, 10);
    let defaults = |eos_token_ids| GenerationDefaults { eos_token_ids, ..Default::default() };
    let table = [
        (defaults(vec![]), json!({}), full.clone()),
        (defaults(vec![]), json!({"stop_token_ids": [id]}), cut(json!(id))),
        (defaults(vec![id]), json!({}), cut(Value::Null)),
        (defaults(vec![258, id]), json!({}), cut(json!(id))),
        (defaults(vec![id]), json!({"ignore_eos": true}), full.clone()),
        (defaults(vec![258, id]), json!({"ignore_eos": true}), full),
    ];
    for (defaults, more, (text, finish, stop, tokens)) in table {
        let server = TestServer::new(Options { defaults, ..Options::default() });
        let answer = server.completion(with(greedy(&prompt, 10), more.clone())).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["text"], json!(text), "{more}");
        assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!(finish), &stop));
        assert_eq!(answer["usage"]["completion_tokens"], tokens, "the end token counts");
    }
    let server = TestServer::new(Options { defaults: defaults(vec![id]), ..Options::default() });
    let answer = server.completion(with(greedy(&prompt, 10), json!({"min_tokens": 8}))).await;
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() >= 8);
}

#[tokio::test]
async fn the_models_defaults_stand_in() {
    let defaults = GenerationDefaults { temperature: Some(0.0), ..Default::default() };
    let server = TestServer::new(Options { defaults, ..Options::default() });
    let silent = server.completion(json!({"prompt": "a", "max_tokens": 9})).await;
    assert_eq!(silent["choices"][0]["text"], json!(oracle("a", 9)));
    let explicit = json!({"prompt": "a", "max_tokens": 9, "temperature": 1, "seed": 3});
    let params = SamplingParams { seed: Some(3), ..SamplingParams::default() };
    let expected = oracle_with("a", &params, 9);
    assert_eq!(server.completion(explicit).await["choices"][0]["text"], json!(expected));
}

#[tokio::test]
async fn token_ids_on_request() {
    let answer =
        server().completion(with(greedy("hi", 3), json!({"return_token_ids": true}))).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["prompt_token_ids"], json!([104, 105]));
    let ids: Vec<u8> = oracle("hi", 3).into_bytes();
    assert_eq!(choice["token_ids"], json!(ids));
}

#[tokio::test]
async fn fields_that_change_nothing_are_accepted() {
    let more = json!({
        "zzz": {"unknown": true}, "user": "u", "best_of": 1, "use_beam_search": false,
        "response_format": {"type": "text"}, "guided_json": null, "bad_words": [], "suffix": null,
        "logprobs": null, "top_k": -1, "max_tokens": "4", "priority": 0, "seed": -1,
        "logit_bias": {}, "deadline_ms": 60_000, "max_ttft_ms": 60_000,
    });
    let answer = server().completion(with(greedy("hello", 4), more)).await;
    assert_eq!(answer["choices"][0]["text"], json!(oracle("hello", 4)));
}

#[tokio::test]
async fn names_of_the_model() {
    let server = server();
    for model in [json!("sim"), json!("other"), json!(""), Value::Null] {
        let answer = server.completion(json!({"model": model, "prompt": "a"})).await;
        assert_eq!(answer["model"], "sim");
    }
    let answer = server.completion(json!({"prompt": "a", "request_id": "mine"})).await;
    assert_eq!(answer["id"], "cmpl-mine");
    let answer = server.completion(json!({"prompt": "a"})).await;
    assert_eq!(answer["id"].as_str().unwrap().len(), "cmpl-".len() + 32);
}
