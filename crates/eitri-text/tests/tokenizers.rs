//! Loading tokenizers from files and from GGUF metadata.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod tiny_vocab;

use std::fs;

use eitri_text::{ChatTemplate, GgufVocab, TextError, Tokenizer};
use serde_json::{Value, json};
use tiny_vocab::{END, THINK, tokenizer, tokenizer_json, vocab};

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text, false).unwrap();
    ids.iter().map(|&id| tokenizer.token_text(id)).collect()
}

fn from_json(tokenizer: &Value, config: &Value) -> Result<Tokenizer, TextError> {
    let config = serde_json::to_vec(config).unwrap();
    Tokenizer::from_bytes(&serde_json::to_vec(tokenizer).unwrap(), Some(&config), None)
}

#[test]
fn pre_tokenizers_cut_words_by_their_rules() {
    let cuts =
        |pre: &str, text: &str| pieces(&Tokenizer::from_gguf(vocab(pre)).unwrap(), text).join("|");
    // Digits: one by one, in threes, or all together.
    assert_eq!(cuts("qwen2", "1234"), "1|2|3|4");
    assert_eq!(cuts("qwen35", "1234"), "1|2|3|4");
    assert_eq!(cuts("smollm", "1234"), "1|2|3|4");
    assert_eq!(cuts("llama-bpe", "1234"), "123|4");
    assert_eq!(cuts("default", "1234"), "123|4");
    assert_eq!(cuts("gpt-2", "1234"), "1234");
    // Contractions: qwen2 in any case; gpt-2 only in small letters.
    assert_eq!(cuts("qwen2", "a'S"), "a|'S");
    assert_eq!(cuts("gpt-2", "a'Ss"), "a|'|S|s");
    assert_eq!(cuts("gpt-2", "a's"), "a|'s");
    // A line end belongs to the punctuation before it, or not.
    assert_eq!(cuts("qwen2", "!\n"), "!\n");
    assert_eq!(cuts("gpt-2", "!\n"), "!|\n");
    // The last of several spaces goes with the word.
    assert_eq!(cuts("qwen2", "a   w"), "a|  | w");
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    let message = |vocab: GgufVocab| Tokenizer::from_gguf(vocab).unwrap_err().to_string();
    let error = message(vocab("tekken"));
    assert!(error.contains("\"tekken\"") && error.contains("known are qwen2"), "{error}");
    let error = message(GgufVocab { model: "bert".into(), ..vocab("gpt-2") });
    assert!(error.contains("tokenizer.ggml.model") && error.contains("bert"), "{error}");
    let error = message(GgufVocab { token_types: vec![1; 3], ..vocab("gpt-2") });
    assert!(error.contains("token_type: has 3 entries"), "{error}");
    let error = message(GgufVocab { token_types: vec![9; 277], ..vocab("gpt-2") });
    assert!(error.contains("token 0 has type 9"), "{error}");
    let error = message(GgufVocab { merges: vec!["ab".into()], ..vocab("gpt-2") });
    assert!(error.contains("merges: entry 0 is \"ab\""), "{error}");
    let error = message(GgufVocab { merges: vec!["a zz".into()], ..vocab("gpt-2") });
    assert!(error.contains("merges") && error.contains("zz"), "{error}");
    let error = message(GgufVocab { bos: Some(9999), ..vocab("gpt-2") });
    assert!(error.contains("bos_token_id: is 9999"), "{error}");
    let error = message(GgufVocab { tokens: vec![], ..vocab("gpt-2") });
    assert!(error.contains("tokenizer.ggml.tokens"), "{error}");
    let error = message(GgufVocab { model: "llama".into(), ..vocab("") });
    assert!(error.contains("scores: has 0 entries"), "{error}");
}

#[test]
fn special_tokens_in_text_become_their_ids() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("a<|end|><think>", false).unwrap();
    assert_eq!(ids[1..], [END, THINK]);
    assert!(tokenizer.is_special(END) && !tokenizer.is_special(THINK));
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a<think>");
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "a<|end|><think>");
    assert_eq!(tokenizer.token_to_id("<|end|>"), Some(END));
    assert_eq!(tokenizer.id_to_token(END), Some("<|end|>"));
    assert_eq!(tokenizer.id_to_token(9999), None);
    assert_eq!(tokenizer.decode(&[9999], false).unwrap(), "");
    assert_eq!(tokenizer.special_tokens().eos.as_ref().map(|t| t.id), Some(END));
    assert_eq!(tokenizer.vocab_size(), 277);
    let space = tokenizer.encode(" ", false).unwrap()[0];
    assert_eq!(tokenizer.id_to_token(space), Some("Ġ"));
    assert_eq!(tokenizer.token_bytes(space), b" ");
}

#[test]
fn bos_is_added_when_the_vocabulary_asks_for_it() {
    let bos_of = |pre: &str, add_bos: Option<bool>| {
        let vocab = GgufVocab { bos: Some(END), add_bos, ..vocab(pre) };
        Tokenizer::from_gguf(vocab).unwrap().encode("a", true).unwrap()[0] == END
    };
    assert!(bos_of("llama-bpe", None));
    assert!(!bos_of("llama-bpe", Some(false)));
    assert!(!bos_of("qwen2", None));
    assert!(bos_of("qwen2", Some(true)));

    let config = |add: Value| json!({"bos_token": {"content": "<|end|>"}, "add_bos_token": add});
    let mut file = tokenizer_json();
    let starts = |file: &Value, add: Value| {
        let ids = from_json(file, &config(add)).unwrap().encode("a", true).unwrap();
        ids.iter().filter(|&&id| id == END).count()
    };
    assert_eq!(starts(&file, Value::Null), 0);
    assert_eq!(starts(&file, json!(true)), 1);
    file["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [END], "tokens": ["<|end|>"]}},
    });
    assert_eq!(starts(&file, Value::Null), 1);
    assert_eq!(starts(&file, json!(true)), 1);
    assert_eq!(starts(&file, json!(false)), 0);
}

#[test]
fn files_and_metadata_make_the_same_tokenizer() {
    let from_file = from_json(&tokenizer_json(), &json!({"eos_token": "<|end|>"})).unwrap();
    let from_gguf = tokenizer();
    for text in ["", "hello w1234 😀日é", "a<think>b<|end|>", "  \n\t x's"] {
        assert_eq!(from_file.encode(text, true).unwrap(), from_gguf.encode(text, true).unwrap());
    }
    assert_eq!(from_file.vocab_size(), from_gguf.vocab_size());
    assert_eq!(from_file.special_tokens(), from_gguf.special_tokens());
}

#[test]
fn the_nearest_chat_template_counts() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let used = |explicit: Option<&str>| {
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
        ChatTemplate::load(explicit, &tokenizer).unwrap().map(|template| {
            let no_kwargs = serde_json::Map::new();
            let chat = eitri_text::ChatInput {
                messages: &[],
                tools: None,
                add_generation_prompt: true,
                continue_final_message: false,
                kwargs: &no_kwargs,
            };
            template.render(&chat).unwrap()
        })
    };
    let missing = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(missing.ends_with("looked for tokenizer.json"), "{missing}");
    write("tokenizer.json", &tokenizer_json().to_string());
    assert_eq!(used(None), None);
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "default", "template": "list"}]}"#,
    );
    assert_eq!(used(None).as_deref(), Some("list"));
    write("tokenizer_config.json", r#"{"chat_template": "config"}"#);
    assert_eq!(used(None).as_deref(), Some("config"));
    write("chat_template.jinja", "file");
    assert_eq!(used(None).as_deref(), Some("file"));
    assert_eq!(used(Some("{{ 'text' }}")).as_deref(), Some("text"));
    let other = dir.path().join("mine.jinja");
    fs::write(&other, "mine").unwrap();
    assert_eq!(used(other.to_str()).as_deref(), Some("mine"));
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
    let error = ChatTemplate::load(Some("absent.jinja"), &tokenizer).unwrap_err().to_string();
    assert!(error.contains("absent.jinja"), "{error}");
    let from_gguf = GgufVocab { chat_template: Some("gguf".into()), ..vocab("gpt-2") };
    let from_gguf = Tokenizer::from_gguf(from_gguf).unwrap();
    assert_eq!(from_gguf.chat_templates()[0].source, "gguf");
}

#[test]
fn broken_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).unwrap();
        Tokenizer::from_dir(dir.path()).unwrap_err().to_string()
    };
    assert!(error("tokenizer.json", b"{").starts_with("tokenizer.json: "));
    assert!(error("tokenizer.json", b"\xff\xfe").starts_with("tokenizer.json: "));
    fs::write(dir.path().join("tokenizer.json"), tokenizer_json().to_string()).unwrap();
    assert!(error("tokenizer_config.json", b"{\"bos_token\": 3}").starts_with("tokenizer_config"));
    fs::remove_file(dir.path().join("tokenizer_config.json")).unwrap();
    assert!(error("chat_template.jinja", b"\xff").contains("chat_template.jinja: not valid UTF-8"));
    let mut far = tokenizer_json();
    far["model"]["vocab"]["far"] = json!(4_000_000_000_u32);
    let error = from_json(&far, &json!({})).unwrap_err().to_string();
    assert!(error.contains("\"far\" has id 4000000000"), "{error}");
    let mut moved = tokenizer_json();
    moved["added_tokens"][1]["id"] = json!(500);
    let error = from_json(&moved, &json!({})).unwrap_err().to_string();
    assert!(error.contains("added_tokens: \"<think>\" has id 500"), "{error}");
}

/// A `SentencePiece` vocabulary: scores instead of merges, bytes for what it lacks.
#[test]
fn sentencepiece_merges_by_score_and_falls_back_to_bytes() {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
    let words = ["▁", "a", "b", "c", "ab", "bc", "▁a", "▁ab"];
    tokens.extend(words.map(str::to_owned));
    let mut token_types = vec![2, 3, 3];
    token_types.extend([6; 256]);
    token_types.extend([1; 8]);
    let mut scores = vec![0.0; 259];
    // "bc" goes before "ab".
    scores.extend([-9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -4.0]);
    let vocab = GgufVocab {
        model: "llama".into(),
        tokens,
        token_types,
        scores: Some(scores),
        bos: Some(1),
        eos: Some(2),
        unk: Some(0),
        ..GgufVocab::default()
    };
    let tokenizer = Tokenizer::from_gguf(vocab.clone()).unwrap();
    assert_eq!(pieces(&tokenizer, "abc"), [" a", "bc"]);
    assert_eq!(pieces(&tokenizer, "ab"), [" ab"]);
    assert_eq!(tokenizer.encode("ab", true).unwrap()[0], 1);
    for text in ["abc ab", "é\n😀", " a", ""] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    // Behind a prompt the space before a word is text.
    let ids = tokenizer.encode("ab", false).unwrap();
    let tokenizer = std::sync::Arc::new(tokenizer);
    assert_eq!(tokenizer.decode_stream(&[], false).push(ids[0]), "ab");
    assert_eq!(tokenizer.decode_stream(&ids, false).push(ids[0]), " ab");

    let few_bytes = GgufVocab { token_types: vec![1; 267], ..vocab };
    let error = Tokenizer::from_gguf(few_bytes).unwrap_err().to_string();
    assert!(error.contains("has 0 byte tokens"), "{error}");
}

#[test]
fn long_runs_are_encoded_completely() {
    let tokenizer = Tokenizer::from_gguf(vocab("qwen2")).unwrap();
    for (text, expected) in [
        ("he".repeat(1 << 17), 1 << 17),
        (" ".repeat(1 << 18), 1 << 17),
        (format!("{}x", " \n".repeat(1 << 17)), (1 << 18) + 1),
    ] {
        let ids = tokenizer.encode(&text, false).unwrap();
        assert_eq!(ids.len(), expected);
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}
