//! Incremental decoding: ids in, whole characters out.

use std::sync::Arc;

use crate::{Tokenizer, pieces::Spelling};

/// State of decoding between two tokens: at most three bytes of an unfinished character.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decoding {
    pending: Vec<u8>,
    /// Nothing was decoded yet, and a leading space would be an artefact of encoding.
    strip_space: bool,
}

impl Decoding {
    /// At the start of a text.
    pub(crate) fn at_start(tokenizer: &Tokenizer) -> Self {
        let strip_space =
            tokenizer.spelling == Spelling::SentencePiece { strip_leading_space: true };
        Self { pending: Vec::new(), strip_space }
    }

    /// Behind `prompt`, whose own text is never emitted; where it ends inside a character, the
    /// bytes of that character wait for the continuation to complete it.
    pub(crate) fn after(tokenizer: &Tokenizer, prompt: &[u32], skip_special: bool) -> Self {
        const LONGEST_CHARACTER: usize = 4;
        if prompt.is_empty() {
            return Self::at_start(tokenizer);
        }
        let mut tail_start = prompt.len();
        let mut bytes = 0;
        while tail_start > 0 && bytes < LONGEST_CHARACTER {
            tail_start -= 1;
            let id = prompt[tail_start];
            if !(skip_special && tokenizer.is_special(id)) {
                bytes += tokenizer.token_bytes(id).len();
            }
        }
        let mut decoding = Self::default();
        let mut prompt_text = String::new();
        for &id in &prompt[tail_start..] {
            decoding.push(tokenizer, id, skip_special, &mut prompt_text);
        }
        decoding
    }

    /// Appends the characters that `id` completes.
    pub(crate) fn push(
        &mut self,
        tokenizer: &Tokenizer,
        id: u32,
        skip_special: bool,
        out: &mut String,
    ) {
        if skip_special && tokenizer.is_special(id) {
            return;
        }
        let mut bytes = tokenizer.token_bytes(id);
        if self.strip_space && !bytes.is_empty() {
            self.strip_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        if self.pending.is_empty() {
            let unfinished = append_characters(bytes, out);
            self.pending.extend_from_slice(unfinished);
        } else {
            self.pending.extend_from_slice(bytes);
            let unfinished = append_characters(&self.pending, out).len();
            let finished = self.pending.len() - unfinished;
            self.pending.drain(..finished);
        }
    }

    /// An unfinished character can no longer be completed: it becomes U+FFFD.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }
}

/// Appends what is decided in `bytes`, with U+FFFD for what can never be a character, and returns
/// the start of a character at the end that more bytes could complete.
fn append_characters<'a>(bytes: &'a [u8], out: &mut String) -> &'a [u8] {
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                return &[];
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                // `valid` is UTF-8 by the contract of `valid_up_to`, so nothing is replaced here.
                out.push_str(&String::from_utf8_lossy(valid));
                match error.error_len() {
                    None => return after,
                    Some(invalid) => {
                        out.push(char::REPLACEMENT_CHARACTER);
                        rest = &after[invalid..];
                    }
                }
            }
        }
    }
}

/// Decodes one continuation as its tokens arrive.
///
/// A piece never ends inside a character: bytes of an unfinished one wait for the next token. The
/// pieces and the last piece from [`DecodeStream::finish`] together are what
/// [`Tokenizer::decode`] gives for all ids at once.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    decoding: Decoding,
}

impl DecodeStream {
    /// Starts behind `prompt`; its text is not emitted. It matters where it ends inside a
    /// character, and for vocabularies that drop the first space of a text.
    pub fn new(tokenizer: Arc<Tokenizer>, prompt: &[u32], skip_special: bool) -> Self {
        let decoding = Decoding::after(&tokenizer, prompt, skip_special);
        Self { tokenizer, skip_special, decoding }
    }

    /// The characters that `id` completes; often none, for example within an emoji.
    pub fn push(&mut self, id: u32) -> String {
        let mut text = String::new();
        self.push_into(id, &mut text);
        text
    }

    /// [`DecodeStream::push`] into an existing string.
    pub fn push_into(&mut self, id: u32, out: &mut String) {
        self.decoding.push(&self.tokenizer, id, self.skip_special, out);
    }

    /// What is left: U+FFFD when the last character was never completed, else nothing.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.decoding.finish(&mut text);
        text
    }
}
