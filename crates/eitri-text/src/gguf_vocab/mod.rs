//! Tokenizers from the metadata of a GGUF file.

mod byte_level;
mod hugging_face;
mod sentencepiece;

use tokenizers::AddedToken;

use crate::{
    SpecialToken, SpecialTokens, TextError,
    pieces::{Spelling, byte_token},
};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";

/// The `tokenizer.*` metadata of a GGUF file as plain data.
#[derive(Debug, Clone, Default)]
pub struct GgufVocab {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (`SentencePiece`).
    pub model: String,
    /// `tokenizer.ggml.pre`: name of the rules that cut text before BPE; `gpt2` only.
    pub pre: String,
    /// `tokenizer.ggml.tokens`, by id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, one per token: 1 normal, 2 unknown, 3 control, 4 user defined,
    /// 5 unused, 6 byte. Empty means all normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: `left right` in order of rank; `gpt2` only.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.scores`, one per token; `llama` only.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: end of a turn.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; where absent the vocabulary's kind decides.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; false where absent.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`; `llama` only, true where absent.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// `tokenizer.huggingface.json`: a whole `tokenizer.json`. Where present it decides how text is
    /// cut and what tokens stand for; the fields above only say which tokens have a role.
    pub hugging_face: Option<String>,
}

/// The kinds of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// What a tokenizer is assembled from.
pub(crate) struct BuiltVocab {
    pub(crate) encoder: tokenizers::Tokenizer,
    pub(crate) spelling: Spelling,
    /// Per token: it stands for its own text.
    pub(crate) verbatim: Vec<bool>,
    pub(crate) is_special: Vec<bool>,
    pub(crate) special: SpecialTokens,
    pub(crate) add_bos: bool,
    pub(crate) add_eos: bool,
    pub(crate) tokens: Vec<String>,
    pub(crate) chat_template: Option<String>,
}

impl GgufVocab {
    pub(crate) fn build(self) -> Result<BuiltVocab, TextError> {
        if self.tokens.is_empty() {
            return Err(gguf_error(TOKENS, "is empty or missing".to_owned()));
        }
        let types = self.parse_token_types()?;
        let (mut encoder, spelling, adds_bos) = match self.model.as_str() {
            "gpt2" => byte_level::encoder(&self, &types)?,
            "llama" => sentencepiece::encoder(&self, &types)?,
            other => {
                return Err(gguf_error(
                    "tokenizer.ggml.model",
                    format!("{other:?} is not known: it should be gpt2 or llama"),
                ));
            }
        };
        let mut is_special: Vec<bool> =
            types.iter().map(|t| matches!(t, TokenType::Control | TokenType::Unknown)).collect();
        // Some files give their end tokens another type; a model that prints them is of no use.
        for id in [self.bos, self.eos, self.eot, self.pad].into_iter().flatten() {
            if let Some(flag) = is_special.get_mut(id as usize) {
                *flag = true;
            }
        }
        let verbatim: Vec<bool> = types
            .iter()
            .zip(&is_special)
            .map(|(t, &special)| special || *t == TokenType::UserDefined)
            .collect();
        let added = self
            .tokens
            .iter()
            .zip(&verbatim)
            .zip(&is_special)
            // An empty text would match everywhere.
            .filter(|((token, verbatim), _)| **verbatim && !token.is_empty())
            .map(|((token, _), &special)| {
                AddedToken::from(token.clone(), special).normalized(false)
            });
        encoder
            .add_tokens(added.collect::<Vec<_>>())
            .map_err(|e| gguf_error(TOKENS, e.to_string()))?;
        let special = self.special_tokens()?;
        Ok(BuiltVocab {
            encoder,
            spelling,
            verbatim,
            is_special,
            special,
            add_bos: self.add_bos.unwrap_or(adds_bos),
            add_eos: self.add_eos.unwrap_or(false),
            tokens: self.tokens,
            chat_template: self.chat_template,
        })
    }

    fn parse_token_types(&self) -> Result<Vec<TokenType>, TextError> {
        if self.token_types.is_empty() {
            return Ok(vec![TokenType::Normal; self.tokens.len()]);
        }
        if self.token_types.len() != self.tokens.len() {
            return Err(gguf_error(
                TOKEN_TYPE,
                format!(
                    "has {} entries: it should have one for each of the {} tokens",
                    self.token_types.len(),
                    self.tokens.len()
                ),
            ));
        }
        let parse = |(id, &code): (usize, &i32)| match code {
            // Files from before the field had values write 0.
            0 | 1 => Ok(TokenType::Normal),
            2 => Ok(TokenType::Unknown),
            3 => Ok(TokenType::Control),
            4 => Ok(TokenType::UserDefined),
            5 => Ok(TokenType::Unused),
            6 => Ok(TokenType::Byte),
            _ => Err(gguf_error(
                TOKEN_TYPE,
                format!("token {id} has type {code}: it should be 1 to 6"),
            )),
        };
        self.token_types.iter().enumerate().map(parse).collect()
    }

    /// The tokens with a role.
    pub(crate) fn special_tokens(&self) -> Result<SpecialTokens, TextError> {
        Ok(SpecialTokens {
            bos: self.special_token("tokenizer.ggml.bos_token_id", self.bos)?,
            eos: self.special_token("tokenizer.ggml.eos_token_id", self.eos)?,
            unk: self.special_token("tokenizer.ggml.unknown_token_id", self.unk)?,
            pad: self.special_token("tokenizer.ggml.padding_token_id", self.pad)?,
        })
    }

    fn special_token(
        &self,
        field: &'static str,
        id: Option<u32>,
    ) -> Result<Option<SpecialToken>, TextError> {
        let Some(id) = id else { return Ok(None) };
        match self.tokens.get(id as usize) {
            Some(text) => Ok(Some(SpecialToken { id, text: text.clone() })),
            None => Err(gguf_error(
                field,
                format!("is {id}: it should be less than the {} tokens", self.tokens.len()),
            )),
        }
    }

    /// Tokens that encoding may produce, with their ids. Of equal texts the last one counts.
    fn usable_tokens(&self, types: &[TokenType]) -> tokenizers::models::bpe::Vocab {
        (0u32..)
            .zip(self.tokens.iter().zip(types))
            .filter(|(_, (_, kind))| **kind != TokenType::Unused)
            .map(|(id, (token, _))| (token.clone(), id))
            .collect()
    }
}

fn gguf_error(field: &'static str, message: String) -> TextError {
    TextError::Gguf { field, message }
}
