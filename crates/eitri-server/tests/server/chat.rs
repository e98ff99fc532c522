//! `POST /v1/chat/completions`, answered whole.

use axum::http::StatusCode;
use eitri_engine::{SamplingParams, SimExecutor};
use eitri_server::{GenerationDefaults, ServerConfig};
use serde_json::{Value, json};

use crate::support::{CONTEXT, Options, TestServer, byte_tokenizer, server, with};

const PROMPT: &str = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\n";

fn say_hi(more: Value) -> Value {
    let body = json!({
        "model": "sim", "messages": [{"role": "user", "content": "Say hi"}], "temperature": 0,
        "max_tokens": 4,
    });
    with(body, more)
}

fn answer_to(prompt: &str, len: usize) -> String {
    let ids = byte_tokenizer().encode(prompt, false).unwrap();
    let params = SamplingParams::greedy(len as u32);
    let ids = SimExecutor::continuation(&ids, &params, 128, len);
    ids.into_iter().map(|id| char::from(id as u8)).collect()
}

#[tokio::test]
async fn the_whole_body() {
    let mut body = server().chat(say_hi(json!({"request_id": "r"}))).await;
    assert!(body["created"].take().is_u64());
    assert!(body["system_fingerprint"].take().as_str().unwrap().starts_with("eitri-"));
    let prompt_tokens = byte_tokenizer().encode(PROMPT, false).unwrap().len();
    let expected = json!({
        "id": "chatcmpl-r", "object": "chat.completion", "created": null, "model": "sim",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": answer_to(PROMPT, 4), "refusal": null,
                "annotations": null, "audio": null, "function_call": null, "reasoning": null,
                "reasoning_content": null,
            },
            "logprobs": null, "finish_reason": "length", "stop_reason": null,
        }],
        "service_tier": null, "system_fingerprint": null,
        "usage": {
            "prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens + 4,
            "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0},
        },
        "prompt_logprobs": null, "kv_transfer_params": null,
    });
    assert_eq!(body.to_string(), expected.to_string());
}

#[tokio::test]
async fn content_as_parts_is_the_same_as_text() {
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "Say hi"}]}]);
    let answer = server().chat(say_hi(json!({ "messages": parts }))).await;
    assert_eq!(answer["choices"][0]["message"]["content"], json!(answer_to(PROMPT, 4)));
}

#[tokio::test]
async fn how_many_tokens() {
    let server = server();
    let tokens = async |server: &TestServer, more: Value| {
        let answer = server.chat(say_hi(more)).await;
        answer["usage"]["completion_tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(&server, json!({"max_tokens": 9, "max_completion_tokens": 3})).await, 3);
    let prompt = byte_tokenizer().encode(PROMPT, false).unwrap().len();
    let room = (CONTEXT - prompt) as u64;
    assert_eq!(tokens(&server, json!({"max_tokens": null})).await, room);
    let defaults = GenerationDefaults { max_new_tokens: Some(7), ..Default::default() };
    let limited = TestServer::new(Options { defaults, ..Options::default() });
    assert_eq!(tokens(&limited, json!({"max_tokens": null})).await, 7);
    assert_eq!(tokens(&limited, json!({"max_tokens": 20})).await, 20);
}

#[tokio::test]
async fn variables_of_the_template() {
    let mut options = Options::default();
    options.config.default_chat_template_kwargs =
        json!({"suffix": "[default]"}).as_object().unwrap().clone();
    let server = TestServer::new(options);
    let content = async |more: Value| {
        server.chat(say_hi(more)).await["choices"][0]["message"]["content"].take()
    };
    let expected = |suffix: &str| json!(answer_to(&format!("{PROMPT}{suffix}"), 4));
    assert_eq!(content(json!({})).await, expected("[default]"));
    let kwargs = json!({"chat_template_kwargs": {"suffix": "!"}});
    assert_eq!(content(kwargs).await, expected("!"));
}

#[tokio::test]
async fn the_last_message_can_go_on() {
    let messages = json!([
        {"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "I say"},
    ]);
    let more = json!({"messages": messages, "continue_final_message": true,
                      "add_generation_prompt": false});
    let answer = server().chat(say_hi(more)).await;
    let expected = answer_to(&format!("{PROMPT}I say"), 4);
    assert_eq!(answer["choices"][0]["message"]["content"], json!(expected));
}

#[tokio::test]
async fn several_answers() {
    let more = json!({"n": 3, "temperature": 1, "seed": 5, "return_token_ids": true});
    let answer = server().chat(say_hi(more)).await;
    let choices = answer["choices"].as_array().unwrap();
    let ids = byte_tokenizer().encode(PROMPT, false).unwrap();
    assert_eq!(answer["prompt_token_ids"], json!(ids));
    for (i, choice) in choices.iter().enumerate() {
        let params = SamplingParams { seed: Some(5 + i as u64), ..SamplingParams::default() };
        assert_eq!(choice["token_ids"], json!(SimExecutor::continuation(&ids, &params, 128, 4)));
    }
    assert_eq!(choices.len(), 3);
    assert_eq!(answer["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn without_a_template_chat_is_refused() {
    let server = TestServer::new(Options { chat: false, ..Options::default() });
    let (status, answer) = server.post("/v1/chat/completions", say_hi(json!({}))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["error"]["message"].as_str().unwrap().contains("--chat-template"));
}

#[tokio::test]
async fn a_message_of_three_megabytes_is_refused_for_its_length_only() {
    let config = ServerConfig::default();
    let server = TestServer::new(Options { config, ..Options::default() });
    let messages = json!([{"role": "user", "content": "a".repeat(3_000_000)}]);
    let body = say_hi(json!({ "messages": messages }));
    let (status, answer) = server.post("/v1/chat/completions", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["error"]["message"].as_str().unwrap().contains("maximum context length"));
}
