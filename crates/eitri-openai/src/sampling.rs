//! The fields that text and chat completions share.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{json, lax};

/// How tokens are chosen and how the request is treated. An absent field means the model's default,
/// then the API's, which is given in brackets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct SamplingFields {
    /// Choices per prompt (default: 1).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub n: Option<i64>,
    /// Softmax temperature (default: 1); 0 is greedy.
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus (default: 1).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Most likely tokens to keep (default: 0); 0 and -1 keep all.
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    /// Least probability relative to the most likely token (default: 0).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Per occurrence in the output (default: 0).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Once per token seen in the output (default: 0).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Factor for tokens of prompt and output (default: 1).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// Added to logits, by token id written as a string (default: none).
    #[serde(deserialize_with = "lax::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub logit_bias: BTreeMap<String, f64>,
    /// End tokens are barred before this many tokens (default: 0).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<i64>,
    /// Do not end at the model's end tokens (default: false).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
    /// Strings that end the text; a single one may stand without a list (default: none).
    #[serde(deserialize_with = "lax::strings", skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Tokens that end the text (default: none).
    #[serde(deserialize_with = "lax::list", skip_serializing_if = "Vec::is_empty")]
    pub stop_token_ids: Vec<u32>,
    /// Keep the stop string in the text (default: false).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub include_stop_str_in_output: Option<bool>,
    /// Leave special tokens out of the text (default: true).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub skip_special_tokens: Option<bool>,
    /// Makes the choice repeatable (default: none); -1 is none.
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Log-probabilities of this many candidates per prompt token (default: none).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<i64>,
    /// Lower runs first under the priority policy (default: 0).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Cached prefixes are shared only within a salt (default: none).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_salt: Option<String>,
    /// Becomes part of the response's id (default: random).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Add the ids of prompt and answer to the response (default: false).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub return_token_ids: Option<bool>,
    /// Write tokens in log-probabilities as `token_id:N` (default: false).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub return_tokens_as_token_ids: Option<bool>,
    /// Eitri: the whole answer is due within this many milliseconds (default: none).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
    /// Eitri: the first token is due within this many milliseconds (default: none).
    #[serde(deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub max_ttft_ms: Option<i64>,
}

impl<'de> Deserialize<'de> for SamplingFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::flattened(deserializer, |tracked| Self::deserialize(tracked))
    }
}

impl Serialize for SamplingFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}
