//! `POST /tokenize` and `POST /detokenize`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ChatMessage, lax};

/// What the ids of a text or of a rendered conversation are; one of the two must be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenizeRequest {
    /// One of the served names [the first].
    pub model: Option<String>,
    /// A text.
    pub prompt: Option<String>,
    /// A conversation.
    pub messages: Option<Vec<ChatMessage>>,
    /// Add the tokens that the model wants around a prompt [true for a text, else false].
    #[serde(deserialize_with = "lax::option")]
    pub add_special_tokens: Option<bool>,
    /// End with the opening of an assistant turn (default: true).
    #[serde(deserialize_with = "lax::option")]
    pub add_generation_prompt: Option<bool>,
    /// Leave the last message open (default: false).
    #[serde(deserialize_with = "lax::option")]
    pub continue_final_message: Option<bool>,
    /// Return the vocabulary entries too (default: false).
    #[serde(deserialize_with = "lax::option")]
    pub return_token_strs: Option<bool>,
    /// A template in place of the model's.
    pub chat_template: Option<String>,
    /// Further variables of the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Tools that the template describes.
    pub tools: Option<Vec<Value>>,
}

/// The ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizeResponse {
    /// Their number.
    pub count: usize,
    /// Most tokens of prompt and answer together.
    pub max_model_len: usize,
    /// The ids.
    pub tokens: Vec<u32>,
    /// The vocabulary entries, as they stand in the vocabulary.
    pub token_strs: Option<Vec<String>>,
}

/// What the text of some ids is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetokenizeRequest {
    /// One of the served names [the first].
    #[serde(default)]
    pub model: Option<String>,
    /// The ids.
    #[serde(deserialize_with = "lax::list")]
    pub tokens: Vec<u32>,
}

/// The text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}
