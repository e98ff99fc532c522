//! From `tokenizer.json` to GGUF metadata and back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tiny_vocab;

use eitri_text::{GgufVocab, Tokenizer};
use serde_json::{Value, json};
use tiny_vocab::{END, THINK, tokenizer_json, vocab};

const TEXTS: [&str; 5] =
    ["hello world's 12345", "  é日本 😀\n\n!\n", "<think>a<|end|>b", "'S it'S", ""];

fn build(json: &Value, config: &Value) -> (Vec<u8>, Tokenizer) {
    let (json, config) = (serde_json::to_vec(json).unwrap(), serde_json::to_vec(config).unwrap());
    let tokenizer = Tokenizer::from_bytes(&json, Some(&config), None).unwrap();
    (json, tokenizer)
}

fn describe(json: &Value, config: &Value) -> GgufVocab {
    let (bytes, tokenizer) = build(json, config);
    GgufVocab::from_tokenizer_json(&bytes, &tokenizer, 300).unwrap()
}

fn split(pattern: &str) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    ]})
}

#[test]
fn tokens_types_and_merges_are_those_of_the_file() {
    let mut json = tokenizer_json();
    let config = json!({"eos_token": "<|end|>", "chat_template": "{{ messages }}"});
    let described = describe(&json, &config);
    let expected = vocab("gpt-2");
    let known = expected.tokens.len();
    assert_eq!(described.tokens[..known], expected.tokens);
    assert_eq!(described.token_types[..known], expected.token_types);
    // Columns of the logits that no token has.
    assert_eq!(described.tokens.len(), 300);
    assert_eq!((described.tokens[299].as_str(), described.token_types[299]), ("[PAD299]", 5));
    assert_eq!(described.merges, expected.merges);
    assert_eq!((described.model.as_str(), described.pre.as_str()), ("gpt2", "gpt-2"));
    assert_eq!((described.eos, described.bos), (Some(END), None));
    assert_eq!(described.chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!((described.add_bos, described.add_eos), (Some(false), Some(false)));

    // Merges as pairs, as newer files have them; tags that only look special.
    let pairs: Vec<Value> =
        expected.merges.iter().map(|merge| json!(merge.split(' ').collect::<Vec<_>>())).collect();
    json["model"]["merges"] = json!(pairs);
    assert_eq!(describe(&json, &config).merges, expected.merges);
    json["added_tokens"][THINK as usize]["content"] = json!("<|tag|>");
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    vocab.remove("<think>");
    vocab.insert("<|tag|>".to_owned(), json!(THINK));
    assert_eq!(describe(&json, &config).token_types[THINK as usize], 3);
}

/// The patterns are those of the models' own files; names as in llama.cpp.
#[test]
fn rules_are_recognised_by_their_pattern() {
    let qwen2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let llama3 = qwen2.replace(r"|\p{N}|", r"|\p{N}{1,3}|");
    let pre = |pre_tokenizer: Value, ignore_merges: bool| {
        let mut json = tokenizer_json();
        json["pre_tokenizer"] = pre_tokenizer;
        json["model"]["ignore_merges"] = json!(ignore_merges);
        let described = describe(&json, &json!({}));
        assert_eq!(described.has_known_rules(), described.pre != "default");
        described.pre
    };
    assert_eq!(pre(split(qwen2), false), "qwen2");
    assert_eq!(pre(split(&llama3), true), "llama-bpe");
    assert_eq!(pre(split(&llama3), false), "default", "llama.cpp would keep whole words");
    assert_eq!(pre(split(r"robots|\p{L}+"), false), "default");
    let byte_level = |cuts| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cuts});
    assert_eq!(pre(byte_level(true), false), "gpt-2");
    let digits = json!({"type": "Digits", "individual_digits": true});
    let smollm = json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]});
    assert_eq!(pre(smollm, false), "smollm");
    assert_eq!(pre(byte_level(false), false), "default");
}

/// With the whole file in the metadata nothing is lost, whatever the rules.
#[test]
fn the_file_in_the_metadata_decides() {
    let mut json = tokenizer_json();
    json["pre_tokenizer"] = split(r"'S|\p{L}{1,2}|\p{N}{2}|\s+|<");
    json["normalizer"] = json!({"type": "NFC"});
    let config = json!({"eos_token": "<|end|>"});
    let (_, original) = build(&json, &config);
    let described = describe(&json, &config);
    assert_eq!(described.pre, "default");
    let without = Tokenizer::from_gguf(GgufVocab { hugging_face: None, ..described.clone() });
    let without = without.unwrap();
    let copy = Tokenizer::from_gguf(described).unwrap();
    for text in TEXTS {
        let ids = original.encode(text, true).unwrap();
        assert_eq!(copy.encode(text, true).unwrap(), ids, "{text}");
        assert_eq!(copy.decode(&ids, true).unwrap(), original.decode(&ids, true).unwrap());
    }
    assert!(TEXTS.iter().any(|text| {
        without.encode(text, true).unwrap() != original.encode(text, true).unwrap()
    }));
    assert_eq!(copy.special_tokens().eos, original.special_tokens().eos);
    assert!(copy.is_special(END) && !copy.is_special(THINK));
}

#[test]
fn the_start_token_is_added_as_before() {
    let mut json = tokenizer_json();
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [END], "tokens": ["<|end|>"]}},
    });
    for config in [
        json!({"bos_token": "<|end|>"}),
        json!({"bos_token": "<|end|>", "add_bos_token": false}),
        json!({}),
    ] {
        let (_, original) = build(&json, &config);
        let copy = Tokenizer::from_gguf(describe(&json, &config)).unwrap();
        let ids = |tokenizer: &Tokenizer| tokenizer.encode("he", true).unwrap();
        assert_eq!(ids(&copy), ids(&original), "{config}");
    }
}

#[test]
fn other_kinds_and_too_many_tokens_are_refused() {
    let (bytes, tokenizer) = build(&tokenizer_json(), &json!({}));
    let refused = |bytes: &[u8], size| {
        GgufVocab::from_tokenizer_json(bytes, &tokenizer, size).unwrap_err().to_string()
    };
    let error = refused(&bytes, 200);
    assert!(error.contains("277 tokens") && error.contains("200"), "{error}");
    let mut json = tokenizer_json();
    json["decoder"] = json!({"type": "ByteFallback"});
    let error = refused(&serde_json::to_vec(&json).unwrap(), 300);
    assert!(error.contains("decoder.type is ByteFallback"), "{error}");
}
