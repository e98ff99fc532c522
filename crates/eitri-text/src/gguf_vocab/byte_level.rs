//! `gpt2`: byte-level BPE, with the rules that cut text into words named by `tokenizer.ggml.pre`.

use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::BPE,
    normalizers::NFC,
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{GgufVocab, TokenType, gguf_error};
use crate::{TextError, pieces::Spelling};

const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut into words before BPE. Names and meanings are those of llama.cpp
/// (`llama-vocab.cpp`), the patterns those of the models' own `tokenizer.json`.
struct Rules {
    names: &'static [&'static str],
    /// Applied one after the other: what matches becomes a word, and so does what lies between.
    patterns: &'static [&'static str],
    /// A word that is a token as a whole is not cut further.
    whole_words: bool,
    adds_bos: bool,
    /// Text is normalised as the model's own tokenizer does (llama.cpp leaves this out).
    nfc: bool,
}

const RULES: &[Rules] = &[
    Rules {
        names: &["qwen2", "deepseek-r1-qwen"],
        patterns: &[QWEN2],
        whole_words: false,
        adds_bos: false,
        nfc: true,
    },
    Rules {
        names: &["qwen35"],
        patterns: &[QWEN35],
        whole_words: false,
        adds_bos: false,
        nfc: true,
    },
    Rules {
        names: &["llama-bpe", "llama3", "llama-v3"],
        patterns: &[LLAMA3],
        whole_words: true,
        adds_bos: true,
        nfc: false,
    },
    Rules {
        names: &["smollm", "starcoder", "refact", "command-r"],
        patterns: &[r"\p{N}", GPT2],
        whole_words: false,
        adds_bos: false,
        nfc: false,
    },
    Rules { names: &["gpt-2"], patterns: &[GPT2], whole_words: false, adds_bos: false, nfc: false },
    Rules {
        names: &["default", ""],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        whole_words: false,
        adds_bos: false,
        nfc: false,
    },
];

/// The name of the rules whose only pattern is `pattern`, and whether they keep words that are
/// tokens as a whole.
pub(super) fn rules_of(pattern: &str) -> Option<(&'static str, bool)> {
    let rules = RULES.iter().find(|rules| rules.patterns == [pattern])?;
    Some((rules.names[0], rules.whole_words))
}

/// The encoder, how its entries are spelled, and whether it adds BOS where the file is silent.
pub(super) fn encoder(
    vocab: &GgufVocab,
    types: &[TokenType],
) -> Result<(Tokenizer, Spelling, bool), TextError> {
    let rules = RULES.iter().find(|r| r.names.contains(&vocab.pre.as_str())).ok_or_else(|| {
        let known: Vec<&str> =
            RULES.iter().flat_map(|r| r.names).copied().filter(|n| !n.is_empty()).collect();
        gguf_error(
            PRE,
            format!(
                "pre-tokenizer {:?} of the GGUF is not known: known are {}",
                vocab.pre,
                known.join(", ")
            ),
        )
    })?;
    let merges = vocab.merges.iter().enumerate().map(|(rank, merge)| split_merge(rank, merge));
    let bpe = BPE::builder()
        .vocab_and_merges(vocab.usable_tokens(types), merges.collect::<Result<Vec<_>, _>>()?)
        .ignore_merges(rules.whole_words)
        .build()
        .map_err(|e| gguf_error(MERGES, e.to_string()))?;

    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for &pattern in rules.patterns {
        let split = Split::new(
            SplitPattern::Regex(pattern.to_owned()),
            SplitDelimiterBehavior::Isolated,
            false,
        );
        steps.push(split.map_err(|e| gguf_error(PRE, e.to_string()))?.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    let mut encoder = Tokenizer::new(bpe);
    encoder.with_pre_tokenizer(Some(Sequence::new(steps)));
    if rules.nfc {
        encoder.with_normalizer(Some(NFC)).map_err(|e| gguf_error(PRE, e.to_string()))?;
    }
    Ok((encoder, Spelling::ByteLevel, rules.adds_bos))
}

/// `left right`; the left part may itself be one space in vocabularies without byte spelling, so
/// the separator is looked for behind the first character.
fn split_merge(rank: usize, merge: &str) -> Result<(String, String), TextError> {
    let bad = || {
        gguf_error(
            MERGES,
            format!("entry {rank} is {merge:?}: it should be two tokens with a space between"),
        )
    };
    let first = merge.chars().next().ok_or_else(bad)?.len_utf8();
    let space = merge[first..].find(' ').ok_or_else(bad)? + first;
    Ok((merge[..space].to_owned(), merge[space + 1..].to_owned()))
}
