//! Words, numbers and punctuation of PTX text (PTX ISA, chapter "Syntax").

use crate::error::PtxError;

/// One token; text is borrowed from the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    /// A directive, opcode with modifiers, or name.
    Word(&'a str),
    Integer(u64),
    /// A floating-point literal, with its bits if written as `0f`.
    Float(f64, Option<u32>),
    Text(&'a str),
    Punctuation(u8),
    End,
}

/// Reads tokens one by one, with one token of look-ahead.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    ahead: Option<(Token<'a>, usize, u32)>,
}

/// Directives that a type may follow without a blank.
const SPACES: [&str; 6] = [".reg.", ".param.", ".shared.", ".local.", ".global.", ".const."];

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.')
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str, line: u32) -> Self {
        Self { text, at: 0, line, ahead: None }
    }

    /// Line of the next token.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> PtxError {
        PtxError::new(self.line, message)
    }

    pub(crate) fn peek(&mut self) -> Result<Token<'a>, PtxError> {
        if let Some((token, _, _)) = self.ahead {
            return Ok(token);
        }
        self.skip_blank()?;
        let (at, line) = (self.at, self.line);
        let token = self.read()?;
        self.ahead = Some((token, self.at, self.line));
        (self.at, self.line) = (at, line);
        Ok(token)
    }

    pub(crate) fn next(&mut self) -> Result<Token<'a>, PtxError> {
        let token = self.peek()?;
        if let Some((_, at, line)) = self.ahead.take() {
            (self.at, self.line) = (at, line);
        }
        Ok(token)
    }

    /// Takes the next token if it is this punctuation.
    pub(crate) fn accept(&mut self, byte: u8) -> Result<bool, PtxError> {
        let found = self.peek()? == Token::Punctuation(byte);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), PtxError> {
        match self.next()? {
            Token::Punctuation(found) if found == byte => Ok(()),
            other => Err(self.error(format!("`{}` expected, found {other:?}", char::from(byte)))),
        }
    }

    pub(crate) fn word(&mut self) -> Result<&'a str, PtxError> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            other => Err(self.error(format!("a name expected, found {other:?}"))),
        }
    }

    /// A possibly negative integer.
    pub(crate) fn integer(&mut self) -> Result<i64, PtxError> {
        let negative = self.accept(b'-')?;
        match self.next()? {
            Token::Integer(value) if negative => Ok((value as i64).wrapping_neg()),
            Token::Integer(value) => Ok(value as i64),
            other => Err(self.error(format!("an integer expected, found {other:?}"))),
        }
    }

    /// Skips to behind the brace that closes an opened block; returns the text inside.
    pub(crate) fn skip_block(&mut self) -> Result<std::ops::Range<usize>, PtxError> {
        debug_assert!(self.ahead.is_none());
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut depth = 1;
        while let Some(&byte) = bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'\n' => self.line += 1,
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'"' => self.at += self.quoted_length(self.at)? + 1,
                b'/' if matches!(bytes.get(self.at), Some(b'/' | b'*')) => {
                    self.at -= 1;
                    self.skip_blank()?;
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(start..self.at - 1);
            }
        }
        Err(self.error("`}` missing at the end of a function"))
    }

    fn quoted_length(&self, from: usize) -> Result<usize, PtxError> {
        self.text[from..].find('"').ok_or_else(|| self.error("a text is not closed"))
    }

    fn skip_blank(&mut self) -> Result<(), PtxError> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                b if b.is_ascii_whitespace() => self.at += 1,
                b'/' if bytes.get(self.at + 1) == Some(&b'/') => {
                    self.at += self.text[self.at..].find('\n').unwrap_or(bytes.len() - self.at);
                }
                b'/' if bytes.get(self.at + 1) == Some(&b'*') => {
                    let length = self.text[self.at..]
                        .find("*/")
                        .ok_or_else(|| self.error("a comment is not closed"))?;
                    let comment = &bytes[self.at..self.at + length];
                    self.line += comment.split(|&b| b == b'\n').count() as u32 - 1;
                    self.at += length + 2;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Token<'a>, PtxError> {
        let bytes = self.text.as_bytes();
        let Some(&byte) = bytes.get(self.at) else { return Ok(Token::End) };
        let start = self.at;
        self.at += 1;
        if byte.is_ascii_digit() {
            return self.number(start);
        }
        if byte == b'"' {
            let length = self.quoted_length(self.at)?;
            self.at += length + 1;
            return Ok(Token::Text(&self.text[start + 1..start + 1 + length]));
        }
        if is_name_start(byte) {
            while let Some(&next) = bytes.get(self.at) {
                let colons = next == b':' && bytes.get(self.at + 1) == Some(&b':');
                if colons {
                    self.at += 2;
                } else if is_name(next) {
                    self.at += 1;
                } else {
                    break;
                }
            }
            // `.reg.b32` is two directives.
            let word = &self.text[start..self.at];
            if let Some(space) = SPACES.iter().find(|s| word.starts_with(**s)) {
                self.at = start + space.len() - 1;
            }
            return Ok(Token::Word(&self.text[start..self.at]));
        }
        Ok(Token::Punctuation(byte))
    }

    fn number(&mut self, start: usize) -> Result<Token<'a>, PtxError> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_alphanumeric)
            || (bytes.get(self.at) == Some(&b'.')
                && bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit))
        {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let wrong = || self.error(format!("`{text}` is not a number"));
        let lower = text.to_ascii_lowercase();
        if let Some(hex) = lower.strip_prefix("0f") {
            let bits = u32::from_str_radix(hex, 16).map_err(|_| wrong())?;
            return Ok(Token::Float(f64::from(f32::from_bits(bits)), Some(bits)));
        }
        if let Some(hex) = lower.strip_prefix("0d") {
            let bits = u64::from_str_radix(hex, 16).map_err(|_| wrong())?;
            return Ok(Token::Float(f64::from_bits(bits), None));
        }
        let digits = lower.strip_suffix('u').unwrap_or(&lower);
        let integer = if let Some(hex) = digits.strip_prefix("0x") {
            u64::from_str_radix(hex, 16)
        } else if let Some(binary) = digits.strip_prefix("0b") {
            u64::from_str_radix(binary, 2)
        } else if digits.len() > 1
            && digits.bytes().all(|b| b.is_ascii_digit())
            && digits.starts_with('0')
        {
            u64::from_str_radix(digits, 8)
        } else {
            digits.parse()
        };
        if let Ok(value) = integer {
            return Ok(Token::Integer(value));
        }
        digits.parse().map(|value| Token::Float(value, None)).map_err(|_| wrong())
    }
}
