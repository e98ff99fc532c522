//! Log-probabilities, and echoed prompts, which evaluation harnesses use together.

use serde_json::{Value, json};

use crate::support::{oracle, server};

#[tokio::test]
async fn of_generated_tokens() {
    let body = json!({"prompt": "hi", "max_tokens": 4, "logprobs": 3, "temperature": 0});
    let answer = server().completion(body).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    let tokens: Vec<String> = oracle("hi", 4).chars().map(String::from).collect();
    assert_eq!(logprobs["tokens"], json!(tokens));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3]));
    for i in 0..4 {
        let top = logprobs["top_logprobs"][i].as_object().unwrap();
        assert!((3..=4).contains(&top.len()), "{top:?}");
        assert_eq!(top[&tokens[i]], logprobs["token_logprobs"][i]);
        assert!(logprobs["token_logprobs"][i].as_f64().unwrap() < 0.0);
    }
}

#[tokio::test]
async fn none_beside_the_token_itself() {
    let body = json!({"prompt": "hi", "max_tokens": 2, "logprobs": 0,
                      "return_tokens_as_token_ids": true});
    let answer = server().completion(body).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    let name = logprobs["tokens"][0].as_str().unwrap();
    assert!(name.starts_with("token_id:"), "{name}");
    assert_eq!(logprobs["top_logprobs"][0], json!({ name: logprobs["token_logprobs"][0] }));
}

#[tokio::test]
async fn echo_without_logprobs() {
    let server = server();
    let text = oracle("hello", 3);
    for prompt in [json!("hello"), json!([104, 101, 108, 108, 111])] {
        let body = json!({"prompt": prompt, "echo": true, "max_tokens": 3, "temperature": 0});
        let answer = server.completion(body).await;
        assert_eq!(answer["choices"][0]["text"], json!(format!("hello{text}")));
        assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
    }
}

#[tokio::test]
async fn of_an_echoed_prompt_alone() {
    let body = json!({"prompt": "hello", "echo": true, "max_tokens": 0, "logprobs": 1});
    let answer = server().completion(body).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "hello");
    assert_eq!(choice["finish_reason"], "length");
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["h", "e", "l", "l", "o"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3, 4]));
    assert_eq!(logprobs["token_logprobs"][0], Value::Null);
    assert_eq!(logprobs["top_logprobs"][0], Value::Null);
    assert!(logprobs["token_logprobs"].as_array().unwrap()[1..].iter().all(Value::is_number));
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
}

#[tokio::test]
async fn of_an_echoed_prompt_and_one_token() {
    let body = json!({
        "model": "sim", "prompt": [[104, 105, 33, 97]], "echo": true, "max_tokens": 1,
        "logprobs": 1, "temperature": 0, "seed": 1234,
    });
    let answer = server().completion(body).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().unwrap().len(), 5, "{list}");
    }
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3, 4]));
    assert!(logprobs["top_logprobs"][1].is_object());
    assert_eq!(logprobs["tokens"][4], json!(oracle("hi!a", 1)));
}

#[tokio::test]
async fn an_echoed_stream_carries_the_same() {
    let server = server();
    let body = json!({"prompt": "hey", "echo": true, "max_tokens": 3, "logprobs": 1,
                      "temperature": 0});
    let whole = server.completion(body.clone()).await;
    let chunks = server.stream("/v1/completions", body).await;
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let streamed: Vec<Value> = chunks
            .iter()
            .flat_map(|c| c["choices"][0]["logprobs"][list].as_array().unwrap().clone())
            .collect();
        assert_eq!(json!(streamed), whole["choices"][0]["logprobs"][list], "{list}");
    }
    let text: String = chunks.iter().map(|c| c["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(json!(text), whole["choices"][0]["text"]);
}

#[tokio::test]
async fn of_the_prompt_in_vllms_form() {
    let server = server();
    let completion =
        server.completion(json!({"prompt": "hey", "max_tokens": 1, "prompt_logprobs": 2})).await;
    let chat = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 1,
                      "prompt_logprobs": 0});
    let chat = server.chat(chat).await;
    let list = completion["choices"][0]["prompt_logprobs"].as_array().unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(list[0], Value::Null);
    let entry = &list[1][u32::from(b'e').to_string()];
    assert_eq!(entry["decoded_token"], "e");
    assert!(entry["logprob"].as_f64().unwrap() < 0.0 && entry["rank"].is_u64());
    assert!((2..=3).contains(&list[1].as_object().unwrap().len()));
    let list = chat["prompt_logprobs"].as_array().unwrap();
    assert_eq!(list.len() as u64, chat["usage"]["prompt_tokens"].as_u64().unwrap());
    assert!(list[1..].iter().all(|entry| entry.as_object().unwrap().len() == 1));
}

#[tokio::test]
async fn of_a_chat() {
    let server = server();
    let body = json!({
        "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "logprobs": true,
        "top_logprobs": 2, "temperature": 0, "return_token_ids": true,
    });
    let answer = server.chat(body.clone()).await;
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 2);
    for (entry, id) in content.iter().zip(answer["choices"][0]["token_ids"].as_array().unwrap()) {
        assert_eq!(entry["bytes"], json!([id]));
        assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
        assert!(entry["top_logprobs"][0]["bytes"].is_array());
    }
    let chunks = server.stream("/v1/chat/completions", body).await;
    let streamed: Vec<Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(&streamed, content);
}
