//! Streamed answers.

use axum::http::{StatusCode, header};
use eitri_server::ServerConfig;
use serde_json::{Value, json};

use crate::support::{Options, TestServer, oracle, post, prompt_with_new_char, server, text, with};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn completion(max_tokens: usize) -> Value {
    json!({"prompt": "hi", "max_tokens": max_tokens, "temperature": 0})
}

fn chat(max_tokens: usize) -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": max_tokens,
           "temperature": 0})
}

/// Text of each choice.
fn texts(chunks: &[Value], choices: usize) -> Vec<String> {
    let mut texts = vec![String::new(); choices];
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        let text = choice.get("text").unwrap_or_else(|| &choice["delta"]["content"]);
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index].push_str(text.as_str().unwrap());
    }
    texts
}

#[tokio::test]
async fn bytes_of_a_completion() {
    let server = server();
    let body = with(completion(2), json!({"stream": true, "request_id": "r"}));
    let response = server.send(post(COMPLETIONS, body.to_string())).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream; charset=utf-8");
    let (status, text) = text(response).await;
    assert_eq!(status, StatusCode::OK);
    let created: Value = serde_json::from_str(&text[6..text.find('\n').unwrap()]).unwrap();
    let created = &created["created"];
    let answer: Vec<String> = oracle("hi", 2).chars().map(|c| json!(c).to_string()).collect();
    let chunk = |text: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"cmpl-r\",\"object\":\"text_completion\",\"created\":{created},\
             \"model\":\"sim\",\"choices\":[{{\"index\":0,\"text\":{text},\"logprobs\":null,\
             \"finish_reason\":{finish},\"stop_reason\":null,\"prompt_token_ids\":null,\
             \"token_ids\":null}}]}}\n\n"
        )
    };
    let first = chunk(&answer[0], "null");
    let last = chunk(&answer[1], "\"length\"");
    assert_eq!(text, format!("{first}{last}data: [DONE]\n\n"));
}

#[tokio::test]
async fn bytes_of_a_chat() {
    let server = server();
    let body = with(chat(1), json!({"stream": true, "request_id": "r"}));
    let (_, text) = server.post_raw(CHAT, body.to_string()).await;
    let whole = server.chat(chat(1)).await;
    let content = &whole["choices"][0]["message"]["content"];
    let first: Value = serde_json::from_str(&text[6..text.find('\n').unwrap()]).unwrap();
    let head = format!(
        "data: {{\"id\":\"chatcmpl-r\",\"object\":\"chat.completion.chunk\",\"created\":{},\
         \"model\":\"sim\",\"choices\":[{{\"index\":0,\"delta\":",
        first["created"]
    );
    let expected = format!(
        "{head}{{\"role\":\"assistant\",\"content\":\"\"}},\"logprobs\":null,\
         \"finish_reason\":null}}]}}\n\n\
         {head}{{\"content\":{content}}},\"logprobs\":null,\"finish_reason\":\"length\",\
         \"stop_reason\":null}}]}}\n\n\
         data: [DONE]\n\n"
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn one_chunk_per_token_and_the_last_one_says_why() {
    let chunks = server().stream(COMPLETIONS, completion(8)).await;
    assert_eq!(chunks.len(), 8);
    let reasons = chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]);
    let mut expected = vec![Value::Null; 7];
    expected.push(json!("length"));
    assert!(reasons.eq(&expected));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn token_counts() {
    let server = server();
    let body = with(completion(4), json!({"stream_options": {"include_usage": true}}));
    let chunks = server.stream(COMPLETIONS, body).await;
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 4);
    assert!(last["usage"]["prompt_tokens_details"]["cached_tokens"].is_u64());
    assert!(others.iter().all(|chunk| chunk.get("usage").is_none()));

    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let chunks =
        server.stream(COMPLETIONS, with(completion(3), json!({"stream_options": options}))).await;
    let counts = chunks.iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap());
    assert!(counts.eq([1, 2, 3, 3]));
    let chunks = server.stream(CHAT, with(chat(2), json!({"stream_options": options}))).await;
    let counts = chunks.iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap());
    assert!(counts.eq([0, 1, 2, 2]));

    let config = ServerConfig { force_include_usage: true, ..ServerConfig::default() };
    let forced = TestServer::new(Options { config, ..Options::default() });
    let chunks = forced.stream(COMPLETIONS, completion(2)).await;
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_object()));
}

#[tokio::test]
async fn a_stream_adds_up_to_the_whole() {
    // With all bytes there are broken and split characters, with 128 only ASCII.
    for sim_vocab in [128, 259] {
        let server = TestServer::new(Options { sim_vocab, ..Options::default() });
        for (i, stop) in [json!(null), json!("a"), json!(["e", "xy", "q"])].iter().enumerate() {
            let more = json!({"stop": stop, "prompt": format!("number {i}"), "max_tokens": 200});
            let body = with(completion(0), more);
            let whole = server.completion(body.clone()).await;
            let streamed = texts(&server.stream(COMPLETIONS, body).await, 1);
            assert_eq!(json!(streamed[0]), whole["choices"][0]["text"]);

            let body = with(chat(200), json!({ "stop": stop }));
            let whole = server.chat(body.clone()).await;
            let streamed = texts(&server.stream(CHAT, body).await, 1);
            assert_eq!(json!(streamed[0]), whole["choices"][0]["message"]["content"]);
        }
    }
}

#[tokio::test]
async fn several_prompts_and_choices_in_one_stream() {
    let server = server();
    let body = json!({"prompt": ["a", "bc", "def"], "n": 2, "seed": 3, "max_tokens": 20,
                      "return_token_ids": true});
    let whole = server.completion(body.clone()).await;
    let chunks = server.stream(COMPLETIONS, body).await;
    let streamed = texts(&chunks, 6);
    for (i, text) in streamed.iter().enumerate() {
        assert_eq!(json!(text), whole["choices"][i]["text"]);
        let mut of_choice =
            chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == json!(i));
        let first = of_choice.next().unwrap();
        assert_eq!(first["prompt_token_ids"], whole["choices"][i]["prompt_token_ids"]);
        let rest: Vec<_> = of_choice.collect();
        assert!(rest.iter().all(|choice| choice["prompt_token_ids"].is_null()));
        assert_eq!(rest.last().unwrap()["finish_reason"], "length");
    }
}

#[tokio::test]
async fn every_choice_of_a_chat_begins_with_its_role() {
    let body = with(chat(3), json!({"n": 2, "temperature": 1, "seed": 1}));
    let chunks = server().stream(CHAT, body).await;
    let role = json!({"role": "assistant", "content": ""});
    for (i, chunk) in chunks[..2].iter().enumerate() {
        assert_eq!(chunk["choices"][0]["index"], json!(i));
        assert_eq!(chunk["choices"][0]["delta"], role);
    }
    assert!(chunks[2..].iter().all(|c| c["choices"][0]["delta"].get("role").is_none()));
}

#[tokio::test]
async fn a_stop_string_never_leaks() {
    let (prompt, char) = prompt_with_new_char(12);
    let text = oracle(&prompt, 13);
    let stop = &text[10..];
    assert!(stop.ends_with(char));
    let more = json!({"prompt": prompt, "stop": [stop]});
    let chunks = server().stream(COMPLETIONS, with(completion(60), more)).await;
    assert_eq!(texts(&chunks, 1)[0], text[..10]);
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!((&last["finish_reason"], &last["stop_reason"]), (&json!("stop"), &json!(stop)));
    assert_eq!(chunks.len(), 13, "held back text still gives chunks");
}

#[tokio::test]
async fn an_error_within_a_stream_is_an_event() {
    let on_step = |plan: &eitri_engine::StepPlan| {
        if plan.step == 3 { Err("the device is on fire".to_owned()) } else { Ok(()) }
    };
    let server =
        TestServer::new(Options { on_step: Some(Box::new(on_step)), ..Options::default() });
    let chunks = server.stream(COMPLETIONS, completion(8)).await;
    assert_eq!(chunks.len(), 3);
    let error = &chunks[2]["error"];
    assert!(error["message"].as_str().unwrap().contains("the device is on fire"));
    assert_eq!((&error["type"], &error["code"]), (&json!("InternalServerError"), &json!(500)));
    server.idle().await;
    let after = server.completion(completion(8)).await;
    assert_eq!(after["choices"][0]["text"], json!(oracle("hi", 8)), "the server goes on");
}
