//! Messages of a conversation.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};

/// One message. What is not listed here (`name`, `tool_calls`, `tool_call_id`,
/// `reasoning_content`, ...) is kept for the chat template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What it says.
    #[serde(default)]
    pub content: ChatContent,
    /// All other fields, as they came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ChatContent {
    /// Nothing, as in an assistant's message that only calls tools.
    #[default]
    Null,
    /// Text.
    Text(String),
    /// Parts of several kinds.
    Parts(Vec<ContentPart>),
}

/// A part of a message. A bare string is read as a part of type `text`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContentPart {
    /// `text`, `image_url`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// All other fields, as they came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl<'de> Deserialize<'de> for ChatContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = ChatContent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of content parts")
            }

            fn visit_unit<E>(self) -> Result<ChatContent, E> {
                Ok(ChatContent::Null)
            }

            fn visit_str<E>(self, text: &str) -> Result<ChatContent, E> {
                Ok(ChatContent::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ChatContent, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = items.next_element()? {
                    parts.push(part);
                }
                Ok(ChatContent::Parts(parts))
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

impl<'de> Deserialize<'de> for ContentPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            text: Option<String>,
            #[serde(flatten)]
            other: Map<String, Value>,
        }

        struct PartVisitor;

        impl<'de> Visitor<'de> for PartVisitor {
            type Value = ContentPart;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a content part with a type, or a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<ContentPart, E> {
                let kind = "text".to_owned();
                Ok(ContentPart { kind, text: Some(text.to_owned()), other: Map::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ContentPart, A::Error> {
                let fields = MapAccessDeserializer::new(map);
                let Fields { kind, text, other } = Fields::deserialize(fields)?;
                Ok(ContentPart { kind, text, other })
            }
        }

        deserializer.deserialize_any(PartVisitor)
    }
}
