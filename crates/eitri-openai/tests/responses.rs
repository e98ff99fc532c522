//! Responses byte for byte as vLLM writes them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use eitri_openai::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatDelta, ChatLogprobs,
    ChatResponse, ChatTokenLogprob, ChatTopLogprob, CompletionChoice, CompletionChunk,
    CompletionChunkChoice, CompletionLogprobs, CompletionResponse, ErrorBody, ErrorResponse,
    PromptLogprob, StopReason, Usage,
};
use serde::{Serialize, de::DeserializeOwned};

/// Writes `value` as `text`, and reads it back.
#[track_caller]
fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, text: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), text);
    assert_eq!(&serde_json::from_str::<T>(text).unwrap(), value);
}

#[test]
fn completion() {
    golden(
        &CompletionResponse {
            id: "cmpl-1".to_owned(),
            object: "text_completion".to_owned(),
            created: 7,
            model: "m".to_owned(),
            choices: vec![CompletionChoice {
                index: 0,
                text: " is".to_owned(),
                logprobs: Some(CompletionLogprobs {
                    text_offset: vec![0],
                    token_logprobs: vec![Some(-0.5)],
                    tokens: vec![" is".to_owned()],
                    top_logprobs: vec![Some(BTreeMap::from([(" is".to_owned(), -0.5)]))],
                }),
                finish_reason: Some("length".to_owned()),
                stop_reason: StopReason::default(),
                token_ids: None,
                prompt_logprobs: Some(vec![
                    None,
                    Some(BTreeMap::from([(
                        3,
                        PromptLogprob {
                            logprob: -2.0,
                            rank: Some(4),
                            decoded_token: Some("x".to_owned()),
                        },
                    )])),
                ]),
                prompt_token_ids: None,
            }],
            service_tier: None,
            system_fingerprint: Some("eitri-0.1.0-01234567".to_owned()),
            usage: Usage::new(5, 1, 2),
            kv_transfer_params: None,
        },
        concat!(
            r#"{"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"#,
            r#""text":" is","logprobs":{"text_offset":[0],"token_logprobs":[-0.5],"tokens":[" is"],"#,
            r#""top_logprobs":[{" is":-0.5}]},"finish_reason":"length","stop_reason":null,"#,
            r#""prompt_logprobs":[null,{"3":{"logprob":-2.0,"rank":4,"decoded_token":"x"}}]}],"#,
            r#""service_tier":null,"system_fingerprint":"eitri-0.1.0-01234567","usage":{"prompt_tokens":5,"#,
            r#""total_tokens":6,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":2}},"#,
            r#""kv_transfer_params":null}"#
        ),
    );
}

#[test]
fn completion_chunks_carry_nulls_but_no_usage() {
    let chunk = |choices, usage| CompletionChunk {
        id: "cmpl-1".to_owned(),
        object: "text_completion".to_owned(),
        created: 7,
        model: "m".to_owned(),
        choices,
        usage,
    };
    let choice = CompletionChunkChoice {
        text: "a".to_owned(),
        finish_reason: Some("stop".to_owned()),
        stop_reason: StopReason::Token(220),
        ..CompletionChunkChoice::default()
    };
    golden(
        &chunk(vec![choice], None),
        concat!(
            r#"{"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"#,
            r#""text":"a","logprobs":null,"finish_reason":"stop","stop_reason":220,"#,
            r#""prompt_token_ids":null,"token_ids":null}]}"#
        ),
    );
    golden(
        &chunk(vec![], Some(Usage::new(1, 2, 0))),
        concat!(
            r#"{"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":[],"#,
            r#""usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2,"#,
            r#""prompt_tokens_details":{"cached_tokens":0}}}"#
        ),
    );
}

#[test]
fn chat() {
    golden(
        &ChatResponse {
            id: "chatcmpl-1".to_owned(),
            object: "chat.completion".to_owned(),
            created: 7,
            model: "m".to_owned(),
            choices: vec![ChatChoice {
                index: 0,
                message: AssistantMessage {
                    role: "assistant".to_owned(),
                    content: Some("Hello".to_owned()),
                    ..AssistantMessage::default()
                },
                logprobs: Some(ChatLogprobs {
                    content: vec![ChatTokenLogprob {
                        token: "Hello".to_owned(),
                        logprob: -0.25,
                        bytes: Some(vec![72]),
                        top_logprobs: vec![ChatTopLogprob {
                            token: "Hi".to_owned(),
                            logprob: -1.5,
                            bytes: None,
                        }],
                    }],
                }),
                finish_reason: Some("stop".to_owned()),
                stop_reason: StopReason::Text("\n".to_owned()),
                token_ids: None,
            }],
            service_tier: None,
            system_fingerprint: None,
            usage: Usage::new(3, 2, 0),
            prompt_logprobs: None,
            prompt_token_ids: None,
            kv_transfer_params: None,
        },
        concat!(
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"#,
            r#""message":{"role":"assistant","content":"Hello","refusal":null,"annotations":null,"audio":null,"#,
            r#""function_call":null,"reasoning":null,"reasoning_content":null},"logprobs":{"content":"#,
            r#"[{"token":"Hello","logprob":-0.25,"bytes":[72],"top_logprobs":"#,
            r#"[{"token":"Hi","logprob":-1.5,"bytes":null}]}]},"finish_reason":"stop","stop_reason":"\n"}],"#,
            r#""service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":3,"total_tokens":5,"#,
            r#""completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0}},"prompt_logprobs":null,"#,
            r#""kv_transfer_params":null}"#
        ),
    );
}

#[test]
fn chat_chunks_leave_out_what_is_not_set() {
    let chunk = |choice| ChatChunk {
        id: "chatcmpl-1".to_owned(),
        object: "chat.completion.chunk".to_owned(),
        created: 7,
        model: "m".to_owned(),
        choices: vec![choice],
        usage: None,
        prompt_token_ids: None,
    };
    let head = concat!(
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","#,
        r#""choices":[{"index":0,"#
    );
    let role = ChatChunkChoice {
        delta: ChatDelta {
            role: Some("assistant".to_owned()),
            content: Some(String::new()),
            ..ChatDelta::default()
        },
        ..ChatChunkChoice::default()
    };
    golden(
        &chunk(role),
        &format!(
            r#"{head}"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}]}}"#
        ),
    );
    let last = ChatChunkChoice {
        delta: ChatDelta { content: Some("a".to_owned()), ..ChatDelta::default() },
        finish_reason: Some("stop".to_owned()),
        stop_reason: Some(StopReason::Token(5)),
        ..ChatChunkChoice::default()
    };
    golden(
        &chunk(last),
        &format!(
            r#"{head}"delta":{{"content":"a"}},"logprobs":null,"finish_reason":"stop","stop_reason":5}}]}}"#
        ),
    );
    let end = ChatChunkChoice {
        finish_reason: Some("stop".to_owned()),
        stop_reason: Some(StopReason::default()),
        ..ChatChunkChoice::default()
    };
    let text = serde_json::to_string(&chunk(end)).unwrap();
    assert!(text.ends_with(r#""finish_reason":"stop","stop_reason":null}]}"#), "{text}");
}

#[test]
fn errors() {
    golden(
        &ErrorResponse {
            error: ErrorBody {
                message: "no".to_owned(),
                kind: "BadRequestError".to_owned(),
                param: Some("n".to_owned()),
                code: 400,
            },
        },
        r#"{"error":{"message":"no","type":"BadRequestError","param":"n","code":400}}"#,
    );
}
