//! What a generation starts from.

use eitri_engine::TokenId;
use serde_json::{Value, json};

use crate::ToolCall;

/// What a generation continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Text; the tokens that the model wants around every prompt (BOS, where it has one) are added.
    Text(String),
    /// Tokens, taken as they are.
    Tokens(Vec<TokenId>),
    /// A conversation; the model's chat template turns it into text and opens the answer.
    Chat {
        /// The turns so far.
        messages: Vec<Message>,
        /// Functions that the model may call, in the form of the OpenAI API:
        /// `{"type": "function", "function": {"name", "description", "parameters"}}`.
        tools: Vec<Value>,
    },
}

impl Prompt {
    /// A prompt of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A prompt of tokens.
    pub fn tokens(tokens: impl Into<Vec<TokenId>>) -> Self {
        Self::Tokens(tokens.into())
    }

    /// A conversation.
    pub fn chat(messages: impl IntoIterator<Item = Message>) -> Self {
        Self::chat_with_tools(messages, [])
    }

    /// A conversation in which the model may call functions; see [`Prompt::Chat`].
    pub fn chat_with_tools(
        messages: impl IntoIterator<Item = Message>,
        tools: impl IntoIterator<Item = Value>,
    ) -> Self {
        let (messages, tools) = (messages.into_iter().collect(), tools.into_iter().collect());
        Self::Chat { messages, tools }
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

/// Who says something in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a function that the model called.
    Tool,
}

impl Role {
    /// The name that chat templates expect.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
    /// Functions that the model called in this turn.
    pub tool_calls: Vec<ToolCall>,
}

impl Message {
    fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new() }
    }

    /// Instructions to the model.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// What the person says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// The functions that the model called, and what it said beside.
    pub fn assistant_calls(content: impl Into<String>, calls: Vec<ToolCall>) -> Self {
        Self { tool_calls: calls, ..Self::assistant(content) }
    }

    /// The result of a function; one message per call, in their order.
    pub fn tool(result: impl Into<String>) -> Self {
        Self::new(Role::Tool, result)
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({"role": self.role.name(), "content": self.content});
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().map(|ToolCall { name, arguments }| {
                json!({"type": "function", "function": {"name": name, "arguments": arguments}})
            });
            value["tool_calls"] = calls.collect();
        }
        value
    }
}
