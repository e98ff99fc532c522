//! The parts of an answer in a conversation.

use eitri_text::{AnswerDelta, AnswerParser};
use serde_json::{Map, Value};

use crate::{Completion, Error, Finish};

/// A function that the model called, or called in an earlier turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Its arguments by name.
    pub arguments: Map<String, Value>,
}

impl std::fmt::Display for ToolCall {
    /// `name(argument: value, ...)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments = self.arguments.iter().map(|(name, value)| format!("{name}: {value}"));
        write!(f, "{}({})", self.name, arguments.collect::<Vec<_>>().join(", "))
    }
}

/// A whole answer in a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What the model thought first; empty if it did not.
    pub reasoning: String,
    /// What it says; empty if it only calls functions.
    pub content: String,
    /// The functions that it calls, in their order.
    pub tool_calls: Vec<ToolCall>,
    /// How it ended.
    pub finish: Finish,
}

impl Answer {
    pub(crate) fn new(completion: Completion, mut parser: AnswerParser) -> Result<Self, Error> {
        let Completion { text, finish, .. } = completion;
        let mut answer = Self {
            reasoning: String::new(),
            content: String::new(),
            tool_calls: Vec::new(),
            finish,
        };
        let mut arguments = Vec::new();
        let deltas = parser.push(&text).into_iter().chain(parser.finish());
        for delta in deltas {
            match delta {
                AnswerDelta::Reasoning(text) => answer.reasoning.push_str(&text),
                AnswerDelta::Content(text) => answer.content.push_str(&text),
                AnswerDelta::ToolCallStart { name, .. } => {
                    answer.tool_calls.push(ToolCall { name, ..ToolCall::default() });
                    arguments.push(String::new());
                }
                AnswerDelta::ToolCallArguments { index, text } => arguments[index].push_str(&text),
            }
        }
        for (call, text) in answer.tool_calls.iter_mut().zip(arguments) {
            // The parser lets only JSON objects through.
            call.arguments = serde_json::from_str(&text)
                .map_err(|error| Error::Generation(format!("{call}: {error}").into()))?;
        }
        Ok(answer)
    }
}
