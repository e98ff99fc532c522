//! What all streamed answers have in common.

use serde::{Deserialize, Serialize};

use crate::lax;

/// What a stream carries beside its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// End with a chunk that has no choices and the token counts. Default false.
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
    /// Token counts so far in every chunk; needs `include_usage`. Default false.
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub continuous_usage_stats: Option<bool>,
}

/// What a choice stopped at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StopReason {
    /// One of `stop_token_ids`.
    Token(u32),
    /// One of the stop strings; with `finish_reason` `abort`, why it was aborted.
    Text(String),
    /// Nothing of the kind: the model's own end token, a limit, or not at the end yet.
    None(()),
}

impl Default for StopReason {
    fn default() -> Self {
        Self::None(())
    }
}
