//! `POST /v1/completions`.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Unexpected, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    CompletionLogprobs, PromptLogprobs, SamplingFields, StopReason, StreamOptions, Usage, lax,
};

/// One or several prompts, as text or as token ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// One list of ids.
    Ids(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// Several lists of ids.
    IdLists(Vec<Vec<u32>>),
}

enum PromptItem {
    Text(String),
    Id(u32),
    Ids(Vec<u32>),
}

impl<'de> Deserialize<'de> for PromptItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;

        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = PromptItem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a token id or a list of token ids")
            }

            fn visit_str<E>(self, text: &str) -> Result<PromptItem, E> {
                Ok(PromptItem::Text(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<PromptItem, E> {
                let id = u32::try_from(id)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(id), &"a token id"))?;
                Ok(PromptItem::Id(id))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PromptItem, A::Error> {
                collect(&mut items, Vec::new()).map(PromptItem::Ids)
            }
        }

        deserializer.deserialize_any(ItemVisitor)
    }
}

fn collect<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    items: &mut A,
    mut collected: Vec<T>,
) -> Result<Vec<T>, A::Error> {
    while let Some(item) = items.next_element()? {
        collected.push(item);
    }
    Ok(collected)
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptVisitor;

        impl<'de> Visitor<'de> for PromptVisitor {
            type Value = Prompt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list of strings, a list of token ids, or a list of those")
            }

            fn visit_str<E>(self, text: &str) -> Result<Prompt, E> {
                Ok(Prompt::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Prompt, A::Error> {
                Ok(match items.next_element()? {
                    None => Prompt::Ids(Vec::new()),
                    Some(PromptItem::Text(first)) => {
                        Prompt::Texts(collect(&mut items, vec![first])?)
                    }
                    Some(PromptItem::Id(first)) => Prompt::Ids(collect(&mut items, vec![first])?),
                    Some(PromptItem::Ids(first)) => {
                        Prompt::IdLists(collect(&mut items, vec![first])?)
                    }
                })
            }
        }

        deserializer.deserialize_any(PromptVisitor)
    }
}

/// A request for text completions. Defaults are in brackets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// One of the served names [the first].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is continued.
    pub prompt: Prompt,
    /// Most tokens to generate (default: 16).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// Put the prompt before the answer (default: false).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// Log-probabilities of this many candidates per token (default: none).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<i64>,
    /// Add the tokens that the model wants around a prompt (default: true).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Send the answer as it comes (default: false).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Only with `stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// Every field that is not listed here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionResponse {
    /// `cmpl-` and the request's id.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// First of the served names.
    pub model: String,
    /// All choices of the first prompt, then those of the next.
    pub choices: Vec<CompletionChoice>,
    /// Always null.
    pub service_tier: Option<String>,
    /// Changes when answers may change.
    pub system_fingerprint: Option<String>,
    /// Token counts of all prompts and choices.
    pub usage: Usage,
    /// Always null.
    pub kv_transfer_params: Option<Value>,
}

/// One continuation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// Position among all choices.
    pub index: u32,
    /// The text.
    pub text: String,
    /// Present when asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop`, `length` or `abort`.
    pub finish_reason: Option<String>,
    /// What it stopped at.
    pub stop_reason: StopReason,
    /// With `return_token_ids`: the generated ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// Present when asked for.
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// With `return_token_ids`: the prompt's ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionChunk {
    /// As in [`CompletionResponse`].
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// First of the served names.
    pub model: String,
    /// One entry; none in the chunk that ends a stream with its token counts.
    pub choices: Vec<CompletionChunkChoice>,
    /// When asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What is new in one choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChunkChoice {
    /// Position among all choices.
    pub index: u32,
    /// New text; empty while it is held back.
    pub text: String,
    /// Of the new tokens, when asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// In the last chunk of the choice.
    pub finish_reason: Option<String>,
    /// What it stopped at.
    pub stop_reason: StopReason,
    /// With `return_token_ids`, in the first chunk of the choice: the prompt's ids.
    pub prompt_token_ids: Option<Vec<u32>>,
    /// With `return_token_ids`: the new ids.
    pub token_ids: Option<Vec<u32>>,
}
