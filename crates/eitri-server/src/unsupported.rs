//! Fields of the API that are not honoured yet. They are refused rather than ignored, unless their
//! value is the one that changes nothing.

use serde_json::{Map, Value};

use crate::ApiError;

/// A field, and which of its values change nothing. Null never does.
type Entry = (&'static str, fn(&Value) -> bool);

const BOTH: &[Entry] = &[
    ("allowed_token_ids", never),
    ("bad_words", is_empty),
    ("best_of", is_one),
    ("early_stopping", is_false),
    ("guided_choice", never),
    ("guided_decoding_backend", never),
    ("guided_grammar", never),
    ("guided_json", never),
    ("guided_json_object", is_false),
    ("guided_regex", never),
    ("guided_whitespace_pattern", never),
    ("kv_transfer_params", is_empty),
    ("length_penalty", is_one),
    ("logits_processors", is_empty),
    ("logprob_token_ids", never),
    ("repetition_detection", never),
    ("response_format", is_text_format),
    ("spaces_between_special_tokens", is_true),
    ("stream_interval", is_one),
    ("structural_tag", never),
    ("structured_outputs", is_empty),
    ("thinking_token_budget", never),
    ("truncate_prompt_tokens", never),
    ("truncation_side", never),
    ("use_beam_search", is_false),
    ("vllm_xargs", is_empty),
];

const COMPLETIONS: &[Entry] = &[("prompt_embeds", never), ("suffix", is_empty)];

const CHAT: &[Entry] = &[
    ("audio", never),
    ("documents", never),
    ("echo", is_false),
    ("function_call", is_none_choice),
    ("functions", never),
    ("media_io_kwargs", is_empty),
    ("mm_processor_kwargs", is_empty),
    ("modalities", is_text_only),
    ("prediction", never),
    ("reasoning_effort", never),
    ("web_search_options", never),
];

/// Refuses what text completions do not honour.
pub(crate) fn check_completion(fields: &Map<String, Value>) -> Result<(), ApiError> {
    check(fields, BOTH)?;
    check(fields, COMPLETIONS)
}

/// Refuses what chat completions do not honour.
pub(crate) fn check_chat(fields: &Map<String, Value>) -> Result<(), ApiError> {
    check(fields, BOTH)?;
    check(fields, CHAT)
}

fn check(fields: &Map<String, Value>, entries: &[Entry]) -> Result<(), ApiError> {
    for &(name, changes_nothing) in entries {
        let Some(value) = fields.get(name) else { continue };
        if !value.is_null() && !changes_nothing(value) {
            return Err(ApiError::field(name, format!("{name} is not supported yet")));
        }
    }
    Ok(())
}

fn never(_: &Value) -> bool {
    false
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true)
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn is_text_format(value: &Value) -> bool {
    value.get("type").and_then(Value::as_str) == Some("text")
}

fn is_none_choice(value: &Value) -> bool {
    value.as_str() == Some("none")
}

fn is_text_only(value: &Value) -> bool {
    value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"))
}
