//! `tokenizer_config.json`: special tokens, whether they are added, chat templates.

use serde::Deserialize;

use crate::{NamedTemplate, TextError};

const FILE: &str = "tokenizer_config.json";

/// The fields that matter here; the file has many more.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerConfig {
    pub(crate) bos_token: Option<TokenName>,
    pub(crate) eos_token: Option<TokenName>,
    pub(crate) unk_token: Option<TokenName>,
    pub(crate) pad_token: Option<TokenName>,
    pub(crate) add_bos_token: Option<bool>,
    pub(crate) add_eos_token: Option<bool>,
    chat_template: Option<TemplateField>,
}

/// A token is written as its text or as an object with the text in `content`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum TokenName {
    Text(String),
    Object { content: String },
}

impl TokenName {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TemplateField {
    One(String),
    Named(Vec<NamedTemplateField>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplateField {
    name: String,
    template: String,
}

impl TokenizerConfig {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TextError> {
        serde_json::from_slice(json)
            .map_err(|e| TextError::File { file: FILE, message: format!("not valid: {e}") })
    }

    pub(crate) fn take_chat_templates(&mut self) -> Vec<NamedTemplate> {
        match self.chat_template.take() {
            None => Vec::new(),
            Some(TemplateField::One(source)) => vec![NamedTemplate::default_named(source)],
            Some(TemplateField::Named(list)) => list
                .into_iter()
                .map(|t| NamedTemplate { name: t.name, source: t.template })
                .collect(),
        }
    }
}
