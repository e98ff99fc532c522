//! Text and tokens: everything between a string and the ids that the engine sees.
//!
//! - [`Tokenizer`] turns text into ids and ids into bytes; it is built from `tokenizer.json` or from
//!   the vocabulary in a GGUF file ([`GgufVocab`]).
//! - [`TextDecoder`] turns the ids of one continuation into text as they arrive: a [`DecodeStream`]
//!   that never emits half a character, then a [`StopMatcher`] that finds stop strings across token
//!   borders.
//! - [`AnswerParser`] splits the text of an answer into reasoning, content and tool calls as it
//!   arrives.
//! - [`ChatTemplate`] renders a conversation into a prompt the way Python's jinja2 would.
//!
//! Nothing here knows HTTP, scheduling or tensors.

mod answer;
mod decode;
mod decoder;
mod error;
mod gguf_vocab;
mod pieces;
mod reasoning;
mod special;
mod stop;
mod tag;
mod template;
mod tokenizer;
mod tokenizer_config;
mod tools;

pub use answer::{AnswerDelta, AnswerFormat, AnswerParser, ParserOptions};
pub use decode::DecodeStream;
pub use decoder::{TextDecoder, TextDecoderOptions, TextDelta};
pub use error::TextError;
pub use gguf_vocab::GgufVocab;
pub use reasoning::{ReasoningDelta, ReasoningParser};
pub use special::{SpecialToken, SpecialTokens};
pub use stop::{StopMatch, StopMatcher};
pub use template::{ChatInput, ChatTemplate, NamedTemplate};
pub use tokenizer::Tokenizer;
pub use tools::ToolParser;
