//! `llama`: `SentencePiece` BPE. The file has scores instead of merges: two neighbours merge when
//! their concatenation is a token, the best score first.

use tokenizers::{
    Tokenizer,
    models::bpe::{BPE, Merges},
    normalizers::{NormalizerWrapper, Prepend, Replace, Sequence},
};

use super::{GgufVocab, TOKENS, TokenType, byte_token, gguf_error};
use crate::{TextError, pieces::Spelling};

const SCORES: &str = "tokenizer.ggml.scores";

/// The encoder, how its entries are spelled, and whether it adds BOS where the file is silent.
pub(super) fn encoder(
    vocab: &GgufVocab,
    types: &[TokenType],
) -> Result<(Tokenizer, Spelling, bool), TextError> {
    let scores = vocab.scores.as_deref().unwrap_or_default();
    if scores.len() != vocab.tokens.len() {
        return Err(gguf_error(
            SCORES,
            format!(
                "has {} entries: it should have one for each of the {} tokens",
                scores.len(),
                vocab.tokens.len()
            ),
        ));
    }
    let bytes = vocab
        .tokens
        .iter()
        .zip(types)
        .filter(|(token, kind)| **kind == TokenType::Byte && byte_token(token).is_some())
        .count();
    if bytes != 256 {
        return Err(gguf_error(
            TOKENS,
            format!(
                "has {bytes} byte tokens: a llama vocabulary should have 256, <0x00> to <0xFF>"
            ),
        ));
    }
    let add_space = vocab.add_space_prefix.unwrap_or(true);
    let bpe = BPE::builder()
        .vocab_and_merges(vocab.usable_tokens(types), merges_by_score(vocab, types, scores))
        .byte_fallback(true)
        .fuse_unk(true)
        // Words are not cut beforehand, so a text is one word and a cache of words never hits.
        .cache_capacity(0)
        .build()
        .map_err(|e| gguf_error(TOKENS, e.to_string()))?;
    let normalize = |e: tokenizers::Error| gguf_error("tokenizer.ggml.model", e.to_string());
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if add_space {
        steps.push(Prepend::new("\u{2581}".to_owned()).into());
    }
    steps.push(Replace::new(" ", "\u{2581}").map_err(normalize)?.into());
    let mut encoder = Tokenizer::new(bpe);
    encoder.with_normalizer(Some(Sequence::new(steps))).map_err(normalize)?;
    Ok((encoder, Spelling::SentencePiece { strip_leading_space: add_space }, true))
}

/// All ways to make a token from two, in the order in which they apply.
fn merges_by_score(vocab: &GgufVocab, types: &[TokenType], scores: &[f32]) -> Merges {
    let usable = |kind: TokenType| matches!(kind, TokenType::Normal | TokenType::UserDefined);
    let ids = vocab.usable_tokens(types);
    let mut merges = Vec::new();
    for (id, token) in vocab.tokens.iter().enumerate() {
        if !usable(types[id]) {
            continue;
        }
        for (cut, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(cut);
            if let (Some(&left_id), Some(&right_id)) = (ids.get(left), ids.get(right)) {
                merges.push((scores[id], left_id, right_id, left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|m| (m.3.to_owned(), m.4.to_owned())).collect()
}
