//! Log-probabilities in the three forms of the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Log-probabilities of a text completion: four lists with one entry per token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionLogprobs {
    /// Characters of the choice's text before each token.
    pub text_offset: Vec<usize>,
    /// Of each token; null for the first token of an echoed prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// The token itself and the most likely ones; null as above.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
}

/// Log-probabilities of a chat completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatLogprobs {
    /// One entry per token.
    pub content: Vec<ChatTokenLogprob>,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatTokenLogprob {
    /// Its text.
    pub token: String,
    /// Its natural logarithm of probability.
    pub logprob: f32,
    /// Its bytes, which may be a part of a character.
    pub bytes: Option<Vec<u8>>,
    /// The most likely tokens, best first.
    pub top_logprobs: Vec<ChatTopLogprob>,
}

/// One of the most likely tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatTopLogprob {
    /// Its text.
    pub token: String,
    /// Its natural logarithm of probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
}

/// vLLM's `prompt_logprobs`: one entry per prompt token, null for the first, by token id.
pub type PromptLogprobs = Vec<Option<BTreeMap<u32, PromptLogprob>>>;

/// One candidate at a position of the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptLogprob {
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its rank, 1 for the most likely.
    pub rank: Option<u32>,
    /// Its text.
    pub decoded_token: Option<String>,
}
