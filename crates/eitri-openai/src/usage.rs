//! Token counts.

use serde::{Deserialize, Serialize};

/// Token counts of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompts, counted once however many choices they have.
    pub prompt_tokens: usize,
    /// Both kinds together.
    pub total_tokens: usize,
    /// Generated tokens of all choices, end tokens included.
    pub completion_tokens: usize,
    /// Where prompt tokens came from.
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

/// Where prompt tokens came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Found in the prefix cache.
    pub cached_tokens: usize,
}

impl Usage {
    /// The sum is filled in.
    pub fn new(prompt_tokens: usize, completion_tokens: usize, cached_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            completion_tokens,
            prompt_tokens_details: Some(PromptTokensDetails { cached_tokens }),
        }
    }
}
