//! A byte-level vocabulary small enough to read: all bytes, a few merges (some of which cut through
//! characters), a special token and a tag that is not special.

use std::sync::{Arc, LazyLock};

use eitri_text::{GgufVocab, Tokenizer};

/// Merges, spelled in plain text; parts of characters as bytes.
const MERGES: &[(&[u8], &[u8])] = &[
    (b"1", b"2"),
    (b"12", b"3"),
    (b"123", b"4"),
    (b"'", b"S"),
    (b"'", b"s"),
    (b"h", b"e"),
    (b"he", b"l"),
    (b"hel", b"lo"),
    (b"l", b"o"),
    (b" ", b"w"),
    (b" ", b" "),
    (b"!", b"\n"),
    (b"\xf0", b"\x9f"),
    (b"\xf0\x9f", b"\x98"),
    (b"\x98", b"\x80"),
    (b"\xe6\x97", b"\xa5"),
    (b"\xe6", b"\x97"),
    (b"\xc3", b"\xa9"),
    (b"a", b"\xc3"),
];

/// `<|end|>`, special.
pub(crate) const END: u32 = 0;
/// `<think>`, not special.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) const THINK: u32 = 1;

/// GPT-2's spelling of bytes, from its definition.
fn spell(bytes: &[u8]) -> String {
    let is_itself = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let rest: Vec<u8> = (0..=255).filter(|&b| !is_itself(b)).collect();
    let spell_one = |&b: &u8| match rest.iter().position(|&r| r == b) {
        Some(index) => char::from_u32(256 + index as u32).unwrap(),
        None => char::from(b),
    };
    bytes.iter().map(spell_one).collect()
}

/// The vocabulary with the rules `pre`.
pub(crate) fn vocab(pre: &str) -> GgufVocab {
    let mut tokens = vec!["<|end|>".to_owned(), "<think>".to_owned()];
    tokens.extend((0..=255).map(|b| spell(&[b])));
    let mut merges = Vec::new();
    for (left, right) in MERGES {
        merges.push(format!("{} {}", spell(left), spell(right)));
        tokens.push(spell(&[*left, *right].concat()));
    }
    let mut token_types = vec![1; tokens.len()];
    token_types[END as usize] = 3;
    token_types[THINK as usize] = 4;
    GgufVocab {
        model: "gpt2".to_owned(),
        pre: pre.to_owned(),
        tokens,
        token_types,
        merges,
        eos: Some(END),
        ..GgufVocab::default()
    }
}

#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: LazyLock<Arc<Tokenizer>> =
        LazyLock::new(|| Arc::new(Tokenizer::from_gguf(vocab("gpt-2")).unwrap()));
    TOKENIZER.clone()
}

/// The same vocabulary as a `tokenizer.json`.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn tokenizer_json() -> serde_json::Value {
    let vocab = vocab("gpt-2");
    let ids: serde_json::Map<String, serde_json::Value> =
        vocab.tokens.iter().enumerate().map(|(id, t)| (t.clone(), id.into())).collect();
    let added = |id: u32, special: bool| {
        serde_json::json!({
            "id": id, "content": vocab.tokens[id as usize], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": special,
        })
    };
    let byte_level =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
    serde_json::json!({
        "version": "1.0",
        "added_tokens": [added(END, true), added(THINK, false)],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": ids, "merges": vocab.merges},
    })
}
