//! Text and tokens: everything between a string and the ids that the engine sees.
//!
//! - [`Tokenizer`] turns text into ids and ids into bytes; it is built from `tokenizer.json` or from
//!   the vocabulary in a GGUF file ([`GgufVocab`]).
//! - [`TextDecoder`] turns the ids of one continuation into text as they arrive: a [`DecodeStream`]
//!   that never emits half a character, then a [`StopMatcher`] that finds stop strings across token
//!   borders.
//! - [`ChatTemplate`] renders a conversation into a prompt the way Python's jinja2 would.
//!
//! Nothing here knows HTTP, scheduling or tensors.

mod decode;
mod decoder;
mod error;
mod gguf_vocab;
mod pieces;
mod special;
mod stop;
mod template;
mod tokenizer;
mod tokenizer_config;

pub use decode::DecodeStream;
pub use decoder::{TextDecoder, TextDecoderOptions, TextDelta};
pub use error::TextError;
pub use gguf_vocab::GgufVocab;
pub use special::{SpecialToken, SpecialTokens};
pub use stop::{StopMatch, StopMatcher};
pub use template::{ChatInput, ChatTemplate, NamedTemplate};
pub use tokenizer::Tokenizer;
