//! From `tokenizer.json` to the metadata of a GGUF file, as llama.cpp's converter writes it
//! (`conversion/base.py`, `gguf-py/gguf/vocab.py`).

use serde_json::Value;

use super::{GgufVocab, byte_level};
use crate::{TextError, Tokenizer};

const FILE: &str = "tokenizer.json";
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The name of rules that llama.cpp has for vocabularies whose own it does not know.
const UNKNOWN_RULES: &str = "default";

impl GgufVocab {
    /// Describes a byte-level BPE tokenizer. `tokenizer` was built from `tokenizer_json` and its
    /// companions; the model's logits have `vocab_size` columns.
    ///
    /// # Errors
    /// When the tokenizer is of another kind or has more tokens than the model.
    pub fn from_tokenizer_json(
        tokenizer_json: &[u8],
        tokenizer: &Tokenizer,
        vocab_size: usize,
    ) -> Result<Self, TextError> {
        let json: Value = serde_json::from_slice(tokenizer_json)
            .map_err(|error| bad(format!("not valid JSON: {error}")))?;
        let text = std::str::from_utf8(tokenizer_json)
            .map_err(|error| bad(format!("not valid UTF-8: {error}")))?;
        check_kind(&json)?;
        if tokenizer.vocab_size() > vocab_size {
            return Err(bad(format!(
                "has {} tokens: it should have at most the {vocab_size} of the model",
                tokenizer.vocab_size()
            )));
        }
        let added = tokenizer.encoder.get_added_tokens_decoder();
        let (mut tokens, mut token_types) =
            (Vec::with_capacity(vocab_size), Vec::with_capacity(vocab_size));
        for id in 0..vocab_size as u32 {
            let name = tokenizer.id_to_token(id);
            tokens.push(name.map_or_else(|| format!("[PAD{id}]"), str::to_owned));
            token_types.push(match (name, added.get(&id)) {
                (None, _) => UNUSED,
                (Some(_), None) => NORMAL,
                (Some(name), Some(token)) if token.special || looks_special(name) => CONTROL,
                (Some(_), Some(_)) => USER_DEFINED,
            });
        }
        let special = tokenizer.special_tokens();
        let id = |token: &Option<crate::SpecialToken>| token.as_ref().map(|token| token.id);
        let (bos, eos) = (id(&special.bos), id(&special.eos));
        Ok(Self {
            model: "gpt2".to_owned(),
            pre: rules(&json).to_owned(),
            tokens,
            token_types,
            merges: merges(&json)?,
            scores: None,
            bos,
            eos,
            eot: None,
            unk: id(&special.unk),
            pad: id(&special.pad),
            add_bos: Some(tokenizer.adds_bos()),
            add_eos: Some(tokenizer.adds_eos()),
            add_space_prefix: None,
            chat_template: tokenizer
                .chat_templates()
                .iter()
                .find(|template| template.name == "default")
                .map(|template| template.source.clone()),
            hugging_face: Some(text.to_owned()),
        })
    }

    /// Whether llama.cpp cuts text as this vocabulary's own tokenizer does.
    pub fn has_known_rules(&self) -> bool {
        self.pre != UNKNOWN_RULES
    }
}

fn bad(message: String) -> TextError {
    TextError::File { file: FILE, message }
}

/// Byte-level BPE spells bytes as characters; other kinds would need another vocabulary type.
fn check_kind(json: &Value) -> Result<(), TextError> {
    let kind = json["model"]["type"].as_str().unwrap_or("nothing");
    let decoder = json["decoder"]["type"].as_str().unwrap_or("nothing");
    if (kind, decoder) == ("BPE", "ByteLevel") {
        return Ok(());
    }
    Err(bad(format!(
        "model.type is {kind} and decoder.type is {decoder}: only BPE with ByteLevel can become GGUF"
    )))
}

/// Tokens that producers forgot to mark, by their looks.
fn looks_special(name: &str) -> bool {
    name.starts_with("<|") && name.ends_with("|>")
}

/// Both spellings of a merge, `"a b"` and `["a", "b"]`. A space inside a part is spelled as bytes
/// are, since the separator is a space.
fn merges(json: &Value) -> Result<Vec<String>, TextError> {
    let none = Vec::new();
    let merges = json["model"]["merges"].as_array().unwrap_or(&none);
    let spelled = |part: &Value| Some(part.as_str()?.replace(' ', "\u{120}"));
    let merge = |merge: &Value| match merge {
        Value::String(pair) => Some(pair.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => Some(format!("{} {}", spelled(left)?, spelled(right)?)),
            _ => None,
        },
        _ => None,
    };
    let wrong = |entry: &Value| bad(format!("model.merges: {entry} should be two tokens"));
    merges.iter().map(|entry| merge(entry).ok_or_else(|| wrong(entry))).collect()
}

/// llama.cpp's name of the rules that cut text before BPE.
fn rules(json: &Value) -> &'static str {
    let pre = &json["pre_tokenizer"];
    let steps = match pre["pretokenizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(pre),
    };
    let kind = |step: &Value| step["type"].as_str().unwrap_or_default().to_owned();
    let kinds: Vec<String> = steps.iter().map(kind).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    // The last step spells bytes, and cuts like GPT-2 unless told not to.
    let Some(last) = steps.last().filter(|last| last["add_prefix_space"] != Value::Bool(true))
    else {
        return UNKNOWN_RULES;
    };
    let cuts = last["use_regex"] != Value::Bool(false);
    match (kinds.as_slice(), cuts) {
        (["ByteLevel"], true) => "gpt-2",
        (["Digits", "ByteLevel"], true) if steps[0]["individual_digits"] == Value::Bool(true) => {
            "smollm"
        }
        (["Split", "ByteLevel"], false) => {
            let (split, whole_words) = (&steps[0], json["model"]["ignore_merges"] == true);
            let isolated = split["behavior"] == "Isolated" && split["invert"] != Value::Bool(true);
            let pattern = split["pattern"]["Regex"].as_str().filter(|_| isolated);
            match pattern.and_then(byte_level::rules_of) {
                Some((name, expected)) if expected == whole_words => name,
                _ => UNKNOWN_RULES,
            }
        }
        _ => UNKNOWN_RULES,
    }
}
