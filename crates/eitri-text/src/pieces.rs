//! The bytes that each token stands for.
//!
//! Decoding is the concatenation of these bytes, so one table serves whole texts, streams and the
//! `bytes` of log-probabilities alike, and decoding one token costs a copy.

use serde_json::Value;

use crate::TextError;

const FILE: &str = "tokenizer.json";

/// How a vocabulary writes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// GPT-2's byte-level alphabet: each byte is one printable character.
    ByteLevel,
    /// `SentencePiece`: `▁` is a space, `<0xE4>` is a byte. A text's first space may be an artefact
    /// of encoding that decoding removes.
    SentencePiece { strip_leading_space: bool },
}

impl Spelling {
    /// Reads the `decoder` of a `tokenizer.json`.
    pub(crate) fn from_decoder(decoder: &Value) -> Result<Self, TextError> {
        let steps: Vec<&Value> = match decoder.get("decoders").and_then(Value::as_array) {
            Some(steps) => steps.iter().collect(),
            None => vec![decoder],
        };
        let kind = |step: &Value| step.get("type").and_then(Value::as_str).map(str::to_owned);
        let find = |name: &str| steps.iter().find(|s| kind(s).as_deref() == Some(name));
        if find("ByteLevel").is_some() {
            return Ok(Self::ByteLevel);
        }
        if let Some(metaspace) = find("Metaspace") {
            let never = metaspace.get("prepend_scheme").is_some_and(|s| s == "never");
            return Ok(Self::SentencePiece { strip_leading_space: !never });
        }
        let replaces_metaspace =
            |step: &&Value| step.pointer("/pattern/String").is_some_and(|p| p == "\u{2581}");
        if find("Replace").is_some_and(replaces_metaspace) {
            let strip = find("Strip").and_then(|s| s.get("start")).and_then(Value::as_u64);
            return Ok(Self::SentencePiece { strip_leading_space: strip.is_some_and(|n| n > 0) });
        }
        let found: Vec<String> = steps.iter().filter_map(|s| kind(s)).collect();
        Err(TextError::File {
            file: FILE,
            message: format!(
                "decoder {} is not supported: it should be ByteLevel, Metaspace, or \
                 SentencePiece's sequence of Replace, ByteFallback, Fuse and Strip",
                if found.is_empty() { "null".to_owned() } else { found.join(" + ") }
            ),
        })
    }

    /// Appends the bytes of one vocabulary entry.
    fn append_bytes(self, token: &str, out: &mut Vec<u8>) {
        match self {
            Self::ByteLevel => {
                let start = out.len();
                for c in token.chars() {
                    let Some(byte) = byte_of_char(c) else {
                        // Outside the alphabet the entry stands for itself.
                        out.truncate(start);
                        out.extend_from_slice(token.as_bytes());
                        return;
                    };
                    out.push(byte);
                }
            }
            Self::SentencePiece { .. } => match byte_token(token) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(token.replace('\u{2581}', " ").as_bytes()),
            },
        }
    }
}

/// The byte of a `SentencePiece` byte token such as `<0x0A>`.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}

/// The byte that a character of GPT-2's alphabet stands for: printable Latin-1 stands for itself,
/// the other 68 bytes follow from U+0100 on.
fn byte_of_char(c: char) -> Option<u8> {
    const fn is_itself(code: u32) -> bool {
        matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
    }
    let code = c as u32;
    match code {
        0..=0xff => is_itself(code).then_some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// Bytes of all tokens in one allocation.
#[derive(Debug)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// Token `i` is `bytes[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
}

impl Pieces {
    /// Builds the table from `(token, verbatim)` for the ids `0, 1, ...`; verbatim entries (added
    /// tokens) stand for themselves, the others are spelled. `None` is an id without a token.
    pub(crate) fn build<'a>(
        spelling: Spelling,
        tokens: impl ExactSizeIterator<Item = Option<(&'a str, bool)>>,
    ) -> Self {
        let mut bytes = Vec::with_capacity(tokens.len() * 8);
        let mut starts = Vec::with_capacity(tokens.len() + 1);
        starts.push(0);
        for token in tokens {
            match token {
                Some((text, true)) => bytes.extend_from_slice(text.as_bytes()),
                Some((text, false)) => spelling.append_bytes(text, &mut bytes),
                None => {}
            }
            starts.push(bytes.len() as u32);
        }
        Self { bytes, starts }
    }

    /// The bytes of `id`; empty for an id outside the vocabulary.
    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match (self.starts.get(id), self.starts.get(id + 1)) {
            (Some(&start), Some(&end)) => &self.bytes[start as usize..end as usize],
            _ => &[],
        }
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection_on_all_bytes() {
        let mut seen = [false; 256];
        for code in 0..0x400 {
            if let Some(byte) = char::from_u32(code).and_then(byte_of_char) {
                assert!(!seen[byte as usize], "byte {byte:#x} twice");
                seen[byte as usize] = true;
            }
        }
        assert!(seen.iter().all(|&s| s));
        // Landmarks of the published alphabet.
        assert_eq!(byte_of_char('Ġ'), Some(b' '));
        assert_eq!(byte_of_char('Ċ'), Some(b'\n'));
        assert_eq!(byte_of_char('Ń'), Some(0xad));
        assert_eq!(byte_of_char('ł'), Some(0xa0));
    }

    #[test]
    fn sentencepiece_entries() {
        let spelling = Spelling::SentencePiece { strip_leading_space: true };
        let tokens = ["▁the", "<0x0A>", "<0xZZ>", "<0x0A"];
        let pieces = Pieces::build(spelling, tokens.iter().map(|&t| Some((t, false))));
        assert_eq!(pieces.get(0), b" the");
        assert_eq!(pieces.get(1), b"\n");
        assert_eq!(pieces.get(2), b"<0xZZ>");
        assert_eq!(pieces.get(3), b"<0x0A");
        assert_eq!(pieces.get(4), b"");
        assert_eq!(pieces.len(), 4);
    }

    #[test]
    fn unsupported_decoders_are_named() {
        let error = Spelling::from_decoder(&serde_json::json!({"type": "WordPiece"})).unwrap_err();
        assert!(error.to_string().contains("tokenizer.json: decoder WordPiece"), "{error}");
        assert!(Spelling::from_decoder(&Value::Null).unwrap_err().to_string().contains("null"));
    }
}
