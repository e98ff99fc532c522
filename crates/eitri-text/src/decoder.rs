//! From the ids of one continuation to its text.

use std::sync::Arc;

use crate::{DecodeStream, StopMatcher, TextError, Tokenizer};

/// How a continuation becomes text.
#[derive(Debug, Clone)]
pub struct TextDecoderOptions {
    /// Leave special tokens out of the text.
    pub skip_special_tokens: bool,
    /// Strings that end the text.
    pub stop: Vec<String>,
    /// Keep the matched stop string, and the text of an end token, at the end of the text.
    pub include_stop: bool,
    /// Tokens with which the engine ends a sequence: they give no text.
    pub end_token_ids: Vec<u32>,
    /// A stop string cannot end within this many first tokens.
    pub min_tokens: usize,
}

impl Default for TextDecoderOptions {
    fn default() -> Self {
        Self {
            skip_special_tokens: true,
            stop: Vec::new(),
            include_stop: false,
            end_token_ids: Vec::new(),
            min_tokens: 0,
        }
    }
}

/// What some tokens add to a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextDelta {
    /// New text, final: nothing of it is taken back later.
    pub text: String,
    /// The stop string that ended the text, as listed in the options. Further tokens give nothing.
    pub stopped: Option<Arc<str>>,
    /// How many of the pushed tokens were taken, the one that completed the stop string included.
    pub tokens: usize,
    /// For each of these tokens, the number of characters decoded before it, counted from the start
    /// of the continuation and with held-back text.
    pub offsets: Vec<usize>,
}

/// Decodes one continuation and applies stop strings.
///
/// The text does not depend on how the tokens are cut into pushes.
#[derive(Debug, Clone)]
pub struct TextDecoder {
    stream: DecodeStream,
    matcher: StopMatcher,
    stop: Vec<Arc<str>>,
    include_stop: bool,
    end_token_ids: Vec<u32>,
    min_tokens: usize,
    tokens: usize,
    characters: usize,
    piece: String,
}

impl TextDecoder {
    /// A decoder for a continuation of `prompt`.
    ///
    /// # Errors
    /// When a stop string is empty.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        prompt: &[u32],
        options: TextDecoderOptions,
    ) -> Result<Self, TextError> {
        Ok(Self {
            stream: DecodeStream::new(tokenizer, prompt, options.skip_special_tokens),
            matcher: StopMatcher::new(&options.stop, options.include_stop)?,
            stop: options.stop.into_iter().map(Arc::from).collect(),
            include_stop: options.include_stop,
            end_token_ids: options.end_token_ids,
            min_tokens: options.min_tokens,
            tokens: 0,
            characters: 0,
            piece: String::new(),
        })
    }

    /// Takes the next tokens. After a stop string nothing more is taken.
    pub fn push(&mut self, ids: &[u32]) -> TextDelta {
        let mut delta = TextDelta::default();
        for &id in ids {
            if self.matcher.is_stopped() {
                break;
            }
            self.tokens += 1;
            delta.tokens += 1;
            delta.offsets.push(self.characters);
            if !self.include_stop && self.end_token_ids.contains(&id) {
                continue;
            }
            self.piece.clear();
            self.stream.push_into(id, &mut self.piece);
            self.characters += self.piece.chars().count();
            if self.tokens <= self.min_tokens {
                self.matcher.push_unarmed(&self.piece, &mut delta.text);
            } else if let Some(found) = self.matcher.push(&self.piece, &mut delta.text) {
                delta.stopped = Some(self.stop[found.index].clone());
            }
        }
        delta
    }

    /// The continuation ended: the text that was held back as the start of a stop string. A
    /// character that was never completed is not text and is dropped, as vLLM does.
    pub fn finish(&mut self) -> TextDelta {
        let mut delta = TextDelta::default();
        self.matcher.finish(&mut delta.text);
        delta
    }
}
