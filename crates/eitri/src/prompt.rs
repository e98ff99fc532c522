//! What a generation starts from.

use eitri_engine::TokenId;
use serde_json::{Value, json};

/// What a generation continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Text; the tokens that the model wants around every prompt (BOS, where it has one) are added.
    Text(String),
    /// Tokens, taken as they are.
    Tokens(Vec<TokenId>),
    /// A conversation; the model's chat template turns it into text and opens the answer.
    Chat(Vec<Message>),
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
        Self::Chat(messages.into_iter().collect())
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
}

impl Role {
    /// The name that chat templates expect.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
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
}

impl Message {
    /// Instructions to the model.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// What the person says.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({"role": self.role.name(), "content": self.content})
    }
}
