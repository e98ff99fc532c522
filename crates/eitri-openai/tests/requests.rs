//! Requests as clients send them, and what is said about those that are wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use eitri_openai::{
    ChatContent, ChatRequest, CompletionRequest, JsonError, Prompt, TokenizeRequest, from_json,
};
use serde_json::{Value, json};

fn completion(body: &Value) -> CompletionRequest {
    from_json(&body.to_string()).unwrap()
}

fn refused(text: &str) -> (Option<String>, String) {
    let JsonError { path, message } = from_json::<CompletionRequest>(text).unwrap_err();
    (path, message)
}

#[test]
fn the_body_of_vllm_bench() {
    let request = completion(&json!({
        "model": "qwen3", "prompt": "Once", "temperature": 0.0, "repetition_penalty": 1.0,
        "max_tokens": 128, "logprobs": null, "stream": true,
        "stream_options": {"include_usage": true}, "ignore_eos": true,
    }));
    assert_eq!(request.prompt, Prompt::Text("Once".to_owned()));
    assert_eq!(request.sampling.temperature, Some(0.0));
    assert_eq!(request.sampling.ignore_eos, Some(true));
    assert_eq!(request.max_tokens, Some(128));
    assert_eq!(request.logprobs, None);
    assert_eq!(request.stream_options.unwrap().include_usage, Some(true));
    assert!(request.other.is_empty());
}

#[test]
fn prompts_of_four_kinds() {
    let prompt = |prompt: Value| completion(&json!({ "prompt": prompt })).prompt;
    assert_eq!(prompt(json!("a")), Prompt::Text("a".to_owned()));
    assert_eq!(prompt(json!(["a", "b"])), Prompt::Texts(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(prompt(json!([1, 2])), Prompt::Ids(vec![1, 2]));
    assert_eq!(
        prompt(json!([[1], [], [2, 3]])),
        Prompt::IdLists(vec![vec![1], vec![], vec![2, 3]])
    );
    assert_eq!(prompt(json!([])), Prompt::Ids(vec![]));
}

#[test]
fn scalars_are_read_as_pydantic_reads_them() {
    let request = completion(&json!({
        "prompt": "a", "max_tokens": 16.0, "echo": "true", "temperature": "0.5", "top_k": "40",
        "n": 2.0, "stream": 0, "seed": -1, "stop": "x", "stop_token_ids": ["7", 8.0],
        "logit_bias": {"220": 100, "5": -1.5}, "ignore_eos": "off", "priority": "-3",
    }));
    assert_eq!(request.max_tokens, Some(16));
    assert_eq!(request.echo, Some(true));
    assert_eq!(request.stream, Some(false));
    let sampling = request.sampling;
    assert_eq!(sampling.temperature, Some(0.5));
    assert_eq!((sampling.top_k, sampling.n, sampling.seed), (Some(40), Some(2), Some(-1)));
    assert_eq!(sampling.stop, ["x"]);
    assert_eq!(sampling.stop_token_ids, [7, 8]);
    assert_eq!(sampling.logit_bias["220"].total_cmp(&100.0), std::cmp::Ordering::Equal);
    assert_eq!(sampling.ignore_eos, Some(false));
    assert_eq!(sampling.priority, Some(-3));
}

#[test]
fn null_is_the_same_as_absent() {
    let all_null = completion(&json!({
        "prompt": "a", "model": null, "max_tokens": null, "echo": null, "logprobs": null,
        "stream": null, "stream_options": null, "n": null, "temperature": null, "stop": null,
        "stop_token_ids": null, "logit_bias": null, "seed": null, "cache_salt": null,
        "priority": null,
    }));
    assert_eq!(all_null, completion(&json!({"prompt": "a"})));
}

#[test]
fn unknown_fields_are_kept_aside() {
    let request = completion(&json!({"prompt": "a", "best_of": 2, "zzz": {"deep": [1]}}));
    assert_eq!(Value::Object(request.other), json!({"best_of": 2, "zzz": {"deep": [1]}}));
}

#[test]
fn errors_name_the_field() {
    let table = [
        (r#"{"prompt": "a", "temperature": "hot"}"#, "temperature", "expected a number"),
        (r#"{"prompt": "a", "max_tokens": 1.5}"#, "max_tokens", "floating point `1.5`"),
        (r#"{"prompt": "a", "max_tokens": []}"#, "max_tokens", "expected a 64-bit integer"),
        (r#"{"prompt": "a", "echo": 2}"#, "echo", "expected a boolean"),
        (r#"{"prompt": "a", "stop": ["x", 5]}"#, "stop[1]", "expected a string"),
        (r#"{"prompt": "a", "stop_token_ids": [-1]}"#, "stop_token_ids[0]", "from 0 to 4294967295"),
        (r#"{"prompt": "a", "logit_bias": {"5": "x"}}"#, "logit_bias.5", "expected f64"),
        (r#"{"prompt": "a", "temperature": "nan"}"#, "temperature", "expected a number"),
        (r#"{"prompt": [1, "a"]}"#, "prompt[1]", "expected u32"),
        (r#"{"prompt": [[1], [-2]]}"#, "prompt[1][0]", "expected u32"),
        (r#"{"prompt": {"a": 1}}"#, "prompt", "expected a string, a list"),
        (r#"{"prompt": 5}"#, "prompt", "expected a string, a list"),
        (r#"{"max_tokens": 5}"#, "prompt", "missing field"),
        (
            r#"{"prompt": "a", "stream_options": {"include_usage": "x"}}"#,
            "stream_options.include_usage",
            "expected a boolean",
        ),
    ];
    for (text, path, message) in table {
        let (found_path, found) = refused(text);
        assert_eq!(found_path.as_deref(), Some(path), "{text}: {found}");
        assert!(found.contains(message), "{text}: {found}");
        assert!(!found.contains('\u{60}') || !found.starts_with('\u{60}'), "{found}");
    }
}

#[test]
fn broken_json_has_a_place_and_no_field() {
    for text in ["", "{", r#"{"prompt": "a""#, r#"{"prompt": "a"} x"#, r#"{"prompt": "\ud800"}"#] {
        let (path, message) = refused(text);
        assert_eq!(path, None, "{text}");
        assert!(message.contains("line 1 column"), "{text}: {message}");
    }
    let deep = format!("{{\"prompt\": \"a\", \"x\": {}", "[".repeat(100_000));
    assert!(refused(&deep).1.contains("recursion limit"));
    let (path, message) = refused("[1, 2]");
    assert!(path.is_none() && message.contains("invalid type"), "{path:?} {message}");
}

#[test]
fn messages_keep_what_templates_may_want() {
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "hi"}, "there"], "name": "Ann"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}], "reasoning_content": "r"},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]);
    let request: ChatRequest =
        from_json(&json!({"messages": messages, "max_tokens": 3, "tools": []}).to_string())
            .unwrap();
    assert_eq!(request.tools, Some(Vec::new()));
    assert_eq!(request.messages[1].content, ChatContent::Null);
    assert_eq!(request.messages[1].other["tool_calls"], json!([{"id": "1"}]));
    assert_eq!(request.messages[1].other["reasoning_content"], json!("r"));
    let mut expected = messages;
    expected[0]["content"][1] = json!({"type": "text", "text": "there"});
    assert_eq!(serde_json::to_value(&request.messages).unwrap(), expected);
}

#[test]
fn wrong_messages_are_located() {
    let refused = |body: Value| from_json::<ChatRequest>(&body.to_string()).unwrap_err();
    let message = |message: Value| refused(json!({ "messages": [message] }));
    assert_eq!(refused(json!({"model": "x"})).path.as_deref(), Some("messages"));
    assert_eq!(refused(json!({"messages": "x"})).path.as_deref(), Some("messages"));
    assert_eq!(message(json!({"content": "x"})).path.as_deref(), Some("messages[0].role"));
    let wrong = message(json!({"role": "user", "content": 7}));
    assert_eq!(wrong.path.as_deref(), Some("messages[0].content"));
    let wrong = message(json!({"role": "user", "content": [{"text": "x"}]}));
    assert_eq!(wrong.path.as_deref(), Some("messages[0].content[0].type"));
}

#[test]
fn requests_survive_a_round_trip() {
    let completion_body = json!({
        "model": "m", "prompt": [[1, 2], [3]], "max_tokens": 5, "n": 2, "temperature": 0.5,
        "stop": ["a"], "logit_bias": {"1": 2.0}, "seed": 7, "deadline_ms": 100, "custom": true,
    });
    let request = completion(&completion_body);
    assert_eq!(serde_json::to_value(&request).unwrap(), completion_body);
    let chat_body = json!({
        "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 4,
        "logprobs": true, "top_logprobs": 2, "chat_template_kwargs": {"enable_thinking": false},
        "stream": true, "stream_options": {"include_usage": true}, "min_p": 0.5,
    });
    let chat: ChatRequest = from_json(&chat_body.to_string()).unwrap();
    assert_eq!(serde_json::to_value(&chat).unwrap(), chat_body);
    let tokenize: TokenizeRequest =
        from_json(r#"{"prompt": "x", "return_token_strs": "yes"}"#).unwrap();
    assert_eq!(tokenize.return_token_strs, Some(true));
}
