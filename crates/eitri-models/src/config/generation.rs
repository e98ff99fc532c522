//! Defaults of sampling that a model brings, from `generation_config.json`.

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::ModelError;

/// What `generation_config.json` says; absent fields are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Whether to sample at all; false means greedy.
    pub do_sample: Option<bool>,
    /// Softmax temperature.
    pub temperature: Option<f64>,
    /// Number of most likely tokens kept.
    pub top_k: Option<u32>,
    /// Probability mass kept.
    pub top_p: Option<f64>,
    /// Least probability kept, relative to the largest.
    pub min_p: Option<f64>,
    /// Penalty of tokens seen.
    pub repetition_penalty: Option<f64>,
    /// Most tokens to generate.
    pub max_new_tokens: Option<usize>,
    /// Start token.
    pub bos_token_id: Option<u32>,
    /// End tokens, of this file or else of the model's configuration.
    pub eos_token_ids: Vec<u32>,
}

impl GenerationConfig {
    pub(crate) fn from_json(file: &str, object: &Map<String, Value>) -> Result<Self, ModelError> {
        let fields = Fields::json(file, object);
        Ok(Self {
            do_sample: fields.flag("do_sample")?,
            temperature: fields.number("temperature")?,
            top_k: fields.index("top_k")?,
            top_p: fields.number("top_p")?,
            min_p: fields.number("min_p")?,
            repetition_penalty: fields.positive("repetition_penalty")?,
            max_new_tokens: fields.optional_size("max_new_tokens", u64::from(u32::MAX))?,
            bos_token_id: fields.index("bos_token_id")?,
            eos_token_ids: fields.token_ids("eos_token_id")?,
        })
    }
}
