//! From the text of one choice to reasoning, content and tool calls.

use eitri_openai::{AssistantMessage, FunctionCall, ToolCall};
use eitri_text::{AnswerDelta, AnswerParser, ParserOptions};
use uuid::Uuid;

/// What is made of the text of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerOptions {
    pub(super) parser: ParserOptions,
    /// Deliver reasoning.
    pub(super) include_reasoning: bool,
    /// Deliver more than the first call.
    pub(super) parallel_tool_calls: bool,
}

/// Reads one choice as it comes.
#[derive(Debug, Clone)]
pub(super) struct AnswerReader {
    parser: AnswerParser,
    options: AnswerOptions,
    calls: usize,
}

impl AnswerReader {
    pub(super) fn new(options: AnswerOptions) -> Self {
        Self { parser: AnswerParser::new(options.parser), options, calls: 0 }
    }

    /// What is new for the client after more text, which is the last with `at_end`.
    pub(super) fn push(&mut self, text: &str, at_end: bool) -> Vec<AnswerDelta> {
        let mut deltas = self.parser.push(text);
        if at_end {
            deltas.extend(self.parser.finish());
        }
        deltas.retain(|delta| match delta {
            AnswerDelta::Content(_) => true,
            AnswerDelta::Reasoning(_) => self.options.include_reasoning,
            AnswerDelta::ToolCallStart { index, .. }
            | AnswerDelta::ToolCallArguments { index, .. } => {
                self.options.parallel_tool_calls || *index == 0
            }
        });
        let is_call = |delta: &&AnswerDelta| matches!(delta, AnswerDelta::ToolCallStart { .. });
        self.calls += deltas.iter().filter(is_call).count();
        deltas
    }

    /// The reason that the client gets for the reason with which generation ended.
    pub(super) fn finish_reason(&self, reason: String) -> String {
        if reason == "stop" && self.calls > 0 { "tool_calls".to_owned() } else { reason }
    }
}

/// A new id of a call, in vLLM's form.
pub(super) fn call_id() -> String {
    format!("chatcmpl-tool-{}", Uuid::new_v4().simple())
}

/// The message that all deltas of a choice make.
pub(super) fn message_of(deltas: Vec<AnswerDelta>) -> AssistantMessage {
    let (mut reasoning, mut content) = (String::new(), String::new());
    let mut calls: Vec<ToolCall> = Vec::new();
    for delta in deltas {
        match delta {
            AnswerDelta::Reasoning(text) => reasoning.push_str(&text),
            AnswerDelta::Content(text) => content.push_str(&text),
            AnswerDelta::ToolCallStart { name, .. } => calls.push(ToolCall {
                id: call_id(),
                kind: "function".to_owned(),
                function: FunctionCall { name, arguments: String::new() },
            }),
            AnswerDelta::ToolCallArguments { text, .. } => {
                if let Some(call) = calls.last_mut() {
                    call.function.arguments.push_str(&text);
                }
            }
        }
    }
    let reasoning = (!reasoning.is_empty()).then_some(reasoning);
    let only_text = calls.is_empty() && reasoning.is_none();
    AssistantMessage {
        role: "assistant".to_owned(),
        content: (only_text || !content.is_empty()).then_some(content),
        tool_calls: calls,
        reasoning_content: reasoning.clone(),
        reasoning,
        ..AssistantMessage::default()
    }
}
