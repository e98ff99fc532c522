//! Reasoning and tool calls, with an engine that says what it is told.

use std::{collections::HashMap, fmt::Write};

use axum::http::StatusCode;
use eitri_engine::{Executor, ExecutorError, Sampled, SequenceId, StepOutput, StepPlan, TokenId};
use eitri_server::GenerationDefaults;
use eitri_text::AnswerFormat;
use serde_json::{Value, json};

use crate::support::{Options, TestServer, VOCAB_SIZE, with};

const CHAT: &str = "/v1/chat/completions";
const END: TokenId = VOCAB_SIZE - 1;
/// Shows everything that a conversation may hold.
const TEMPLATE: &str = "{% if tools %}{{ tools | tojson }}\n{% endif %}\
    {% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\
    {% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}\
    {% if m.tool_calls is defined %}{% for c in m.tool_calls %}[{{ c.function.name }} \
    {{ c.function.arguments | tojson }}]{% endfor %}{% endif %}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{{ suffix }}";
const MOVE: &str =
    "<tool_call>\n{\"name\": \"move\", \"arguments\": {\"metres\": 1.5}}\n</tool_call>";
const STOP: &str = "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>";

/// Answers with the text of the last user message and then the end token. Token ids are bytes.
#[derive(Default)]
struct Parrot {
    answers: HashMap<SequenceId, Vec<TokenId>>,
    output: StepOutput,
}

impl Executor for Parrot {
    fn submit(&mut self, plan: &StepPlan) -> Result<(), ExecutorError> {
        self.output = StepOutput { step: plan.step, ..StepOutput::default() };
        for admission in &plan.admitted {
            let bytes: Vec<u8> = admission.tokens.iter().map(|&id| id as u8).collect();
            let prompt = String::from_utf8_lossy(&bytes);
            let (_, rest) = prompt.rsplit_once("user\n").unwrap();
            // The end of the message is a token above all bytes: 257 as a byte is 1.
            let (said, _) = rest.split_once('\u{1}').unwrap();
            let answer = said.bytes().map(TokenId::from).chain([END]);
            let generated = admission.tokens.len() - admission.prompt_len;
            self.answers.insert(admission.id, answer.skip(generated).collect());
        }
        for row in plan.rows.iter().filter(|row| row.sample) {
            let token = self.answers.get_mut(&row.id).unwrap().remove(0);
            self.output.sampled.push(Sampled { id: row.id, token, logprobs: None });
        }
        Ok(())
    }

    fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecutorError> {
        *output = std::mem::take(&mut self.output);
        Ok(())
    }
}

fn options() -> Options {
    Options {
        template: TEMPLATE,
        answer_format: AnswerFormat { reasoning: true, tools: true },
        defaults: GenerationDefaults { eos_token_ids: vec![END], ..Default::default() },
        executor: Some(Box::new(Parrot::default())),
        ..Options::default()
    }
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "move", "parameters": {"type": "object"}}}])
}

/// A request whose answer will be `answer`.
fn asking(answer: &str, more: Value) -> Value {
    let body = json!({"messages": [{"role": "user", "content": answer}], "temperature": 0,
                      "tools": tools()});
    with(body, more)
}

/// Joins the deltas of the only choice into a message; gives it with the finish reason.
fn join(chunks: &[Value]) -> (Value, Value) {
    let mut texts: HashMap<&str, String> = HashMap::new();
    let mut calls: Vec<Value> = Vec::new();
    let mut finish = Value::Null;
    for choice in chunks.iter().map(|chunk| &chunk["choices"][0]) {
        let delta = &choice["delta"];
        for key in ["content", "reasoning", "reasoning_content"] {
            if let Some(text) = delta[key].as_str() {
                texts.entry(key).or_default().push_str(text);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap() as usize;
            let more = call["function"]["arguments"].as_str().unwrap();
            if index == calls.len() {
                assert!(call["id"].as_str().unwrap().starts_with("chatcmpl-tool-"), "{call}");
                assert_eq!((&call["type"], more), (&json!("function"), ""), "{call}");
                let name = &call["function"]["name"];
                calls.push(json!({"name": name, "arguments": ""}));
            } else {
                assert_eq!(call.get("id").or(call["function"].get("name")), None, "{call}");
                let arguments = calls[index]["arguments"].as_str().unwrap().to_owned() + more;
                calls[index]["arguments"] = json!(arguments);
            }
        }
        assert_eq!(finish, Value::Null, "a choice ends in its last chunk");
        finish = choice["finish_reason"].clone();
    }
    let text = |key: &str| texts.get(key).filter(|text| !text.is_empty());
    let message = json!({"content": text("content"), "reasoning": text("reasoning"),
                         "reasoning_content": text("reasoning_content"), "calls": calls});
    (message, finish)
}

/// The message and finish reason of a request, checked to be the same whole and streamed.
async fn answer(server: &TestServer, body: Value) -> (Value, Value) {
    let whole = server.chat(body.clone()).await;
    let choice = &whole["choices"][0];
    let message = &choice["message"];
    let calls = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
    let functions: Vec<&Value> = calls.iter().map(|call| &call["function"]).collect();
    let filled = |key: &str| Some(&message[key]).filter(|text| **text != "");
    let expected = json!({"content": filled("content"), "reasoning": message["reasoning"],
                          "reasoning_content": message["reasoning_content"], "calls": functions});
    let streamed = server.stream(CHAT, with(body, json!({"stream": true}))).await;
    let (joined, finish) = join(&streamed);
    assert_eq!((&joined, &finish), (&expected, &choice["finish_reason"]));
    (joined, finish)
}

#[tokio::test]
async fn reasoning_text_and_calls_are_told_apart() {
    let server = TestServer::new(options());
    let said = format!("<think>\nFar.\n</think>\n\nOn my way.\n{MOVE}\n{STOP}");
    let (message, finish) = answer(&server, asking(&said, json!({}))).await;
    let calls = json!([{"name": "move", "arguments": "{\"metres\": 1.5}"},
                       {"name": "stop", "arguments": "{}"}]);
    let expected = json!({"content": "On my way.", "reasoning": "Far.",
                          "reasoning_content": "Far.", "calls": calls});
    assert_eq!((message, finish), (expected, json!("tool_calls")));
}

#[tokio::test]
async fn only_calls_leave_no_content_and_only_text_no_calls() {
    let server = TestServer::new(options());
    let whole = server.chat(asking(MOVE, json!({}))).await;
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["content"], Value::Null);
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    assert_ne!(message["tool_calls"][0]["id"], Value::Null);
    let whole = server.chat(asking("Hello", json!({}))).await;
    let choice = &whole["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], choice["message"].get("tool_calls")),
        (&json!("Hello"), None)
    );
    assert_eq!(choice["finish_reason"], "stop");
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_parsed_or_not_shown() {
    let server = TestServer::new(options());
    let said = format!("<think>\nFar.\n</think>\n\n{MOVE}\n{STOP}");
    let (message, finish) = answer(&server, asking(&said, json!({"tools": null}))).await;
    assert_eq!((&message["content"], finish), (&json!(format!("{MOVE}\n{STOP}")), json!("stop")));
    let (message, finish) = answer(&server, asking(&said, json!({"tool_choice": "none"}))).await;
    assert_eq!((&message["content"], finish), (&json!(format!("{MOVE}\n{STOP}")), json!("stop")));
    let one = json!({"parallel_tool_calls": false, "include_reasoning": false});
    let (message, finish) = answer(&server, asking(&said, one)).await;
    assert_eq!(message["calls"].as_array().unwrap().len(), 1);
    assert_eq!((&message["reasoning"], finish), (&Value::Null, json!("tool_calls")));
    let plain = AnswerFormat { reasoning: false, tools: true };
    let server = TestServer::new(Options { answer_format: plain, ..options() });
    let (message, _) = answer(&server, asking("<think>\nA\n</think>\n\nB", json!({}))).await;
    assert_eq!(message["content"], "<think>\nA\n</think>\n\nB");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_keeps_what_came() {
    let server = TestServer::new(options());
    let (message, finish) = answer(&server, asking(MOVE, json!({"max_tokens": 20}))).await;
    assert_eq!((&message["content"], finish), (&json!(MOVE[..20]), json!("length")));
    let (message, _) = answer(&server, asking("<think>\nA long", json!({"max_tokens": 9}))).await;
    assert_eq!((&message["reasoning"], &message["content"]), (&json!("A"), &Value::Null));
    let more = json!({"max_tokens": MOVE.len() + 3});
    let said = format!("{MOVE} and on and on");
    let (message, finish) = answer(&server, asking(&said, more)).await;
    assert_eq!((message["calls"].as_array().unwrap().len(), finish), (1, json!("length")));
}

#[tokio::test]
async fn a_prompt_that_opens_a_think_block_is_answered_with_reasoning() {
    let server = TestServer::new(options());
    let more = json!({"chat_template_kwargs": {"suffix": "<think>\n"}});
    let (message, _) = answer(&server, asking("A\n</think>\n\nB", more)).await;
    assert_eq!((&message["reasoning"], &message["content"]), (&json!("A"), &json!("B")));
}

#[tokio::test]
async fn every_choice_has_its_own_calls() {
    let server = TestServer::new(options());
    let more = json!({"n": 2, "temperature": 1, "stream": true});
    let chunks = server.stream(CHAT, asking(MOVE, more)).await;
    for index in 0..2 {
        let own = |chunk: &&Value| chunk["choices"][0]["index"] == index;
        let chunks: Vec<Value> = chunks.iter().filter(own).cloned().collect();
        let (message, finish) = join(&chunks);
        assert_eq!((message["calls"].as_array().unwrap().len(), finish), (1, json!("tool_calls")));
    }
}

/// The prompt that a request is rendered to.
async fn rendered(server: &TestServer, messages: Value) -> String {
    let body = json!({"messages": messages, "add_generation_prompt": false});
    let (status, tokens) = server.post("/tokenize", body).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let mut text = String::new();
    for id in tokens["tokens"].as_array().unwrap().iter().filter_map(Value::as_u64) {
        match u8::try_from(id) {
            Ok(byte) => text.push(char::from(byte)),
            Err(_) => write!(text, "<{id}>").unwrap(),
        }
    }
    text
}

#[tokio::test]
async fn calls_and_reasoning_of_earlier_turns_are_shown_to_the_template() {
    let server = TestServer::new(options());
    let call = |arguments: Value| {
        json!({"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]})
    };
    for (arguments, shown) in [
        (json!("{\"b\":1,\"a\":\"x\"}"), "[f {\"b\": 1, \"a\": \"x\"}]"),
        (json!({"b": 1}), "[f {\"b\": 1}]"),
        (json!(""), "[f {}]"),
        (Value::Null, "[f {}]"),
    ] {
        let text = rendered(&server, json!([call(arguments)])).await;
        assert_eq!(text, format!("<256>assistant\n{shown}<257>\n"));
    }
    let thought =
        json!([{"role": "assistant", "content": "B", "reasoning": "A", "tool_calls": []}]);
    assert_eq!(rendered(&server, thought).await, "<256>assistant\nB(A)<257>\n");
    let nothing = json!([{"role": "assistant", "content": null, "reasoning": "A"}]);
    assert_eq!(rendered(&server, nothing).await, "<256>assistant\n(A)<257>\n");
    let result = json!([{"role": "tool", "tool_call_id": "1", "content": "done"}]);
    assert_eq!(rendered(&server, result).await, "<256>tool\ndone<257>\n");
}

#[tokio::test]
async fn mistakes_are_named() {
    let server = TestServer::new(options());
    let function =
        |more: Value| json!([{"type": "function", "function": with(json!({"name": "f"}), more)}]);
    let history = |function: Value| json!({"messages": [{"role": "assistant", "tool_calls": [{"function": function}]}]});
    for (more, param, part) in [
        (json!({"tools": []}), "tools", "is empty"),
        (json!({"tools": [{"type": "custom"}]}), "tools[0].type", "must be \"function\""),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function", "must be an object"),
        (json!({"tools": function(json!({"name": ""}))}), "tools[0].function.name", "not empty"),
        (
            json!({"tools": function(json!({"parameters": 1}))}),
            "tools[0].function.parameters",
            "schema",
        ),
        (
            json!({"tools": function(json!({"strict": true}))}),
            "tools[0].function.strict",
            "structured",
        ),
        (json!({"tools": null, "tool_choice": "auto"}), "tool_choice", "only allowed with tools"),
        (json!({"tool_choice": "required"}), "tool_choice", "structured outputs"),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "move"}}}),
            "tool_choice",
            "structured outputs",
        ),
        (json!({"tool_choice": "maybe"}), "tool_choice", "must be \"auto\" or \"none\""),
        (
            history(json!({"name": "f", "arguments": "{"})),
            "messages[0].tool_calls[0].function.arguments",
            "JSON object as text",
        ),
        (
            history(json!({"name": "f", "arguments": "[1]"})),
            "messages[0].tool_calls[0].function.arguments",
            "JSON object as text",
        ),
        (history(json!({"arguments": "{}"})), "messages[0].tool_calls[0].function.name", "string"),
        (history(json!(1)), "messages[0].tool_calls[0].function", "must be an object"),
    ] {
        let (status, answer) = server.post(CHAT, asking("x", more.clone())).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (StatusCode::BAD_REQUEST, &json!(param)),
            "{more}"
        );
        assert!(answer["error"]["message"].as_str().unwrap().contains(part), "{more}: {answer}");
    }
    let none = AnswerFormat { reasoning: true, tools: false };
    let server = TestServer::new(Options { answer_format: none, ..options() });
    let (status, answer) = server.post(CHAT, asking("x", json!({}))).await;
    assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("tools")));
    server.chat(asking("x", json!({"tool_choice": "none"}))).await;
}
