//! What the parsers should find, defined on the whole text with `serde_json`'s own idea of where a
//! value ends.

use eitri_text::ParserOptions;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Value};

const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Reasoning(String),
    Content(String),
    Call(String, String),
}

pub(crate) fn reasoning_and_content(starts_in_reasoning: bool, text: &str) -> (&str, &str) {
    let body = match text.trim_start_matches(SPACE).strip_prefix("<think>") {
        Some(body) => body,
        None if starts_in_reasoning => text,
        None => return ("", text),
    };
    let body = body.trim_start_matches('\n');
    match body.split_once("</think>") {
        Some((reasoning, content)) => {
            (reasoning.trim_end_matches('\n'), content.trim_start_matches('\n'))
        }
        None => (body, ""),
    }
}

pub(crate) fn answer_parts(options: ParserOptions, text: &str) -> Vec<Part> {
    let (reasoning, content) = if options.reasoning {
        reasoning_and_content(options.starts_in_reasoning, text)
    } else {
        ("", text)
    };
    let mut parts = Vec::new();
    if !reasoning.is_empty() {
        parts.push(Part::Reasoning(reasoning.to_owned()));
    }
    if options.tools {
        parts.extend(content_parts(content));
    } else if !content.is_empty() {
        parts.push(Part::Content(content.to_owned()));
    }
    parts
}

/// The next value of `text`, and its length with leading whitespace.
fn value<T: DeserializeOwned>(text: &str) -> Option<(T, usize)> {
    let mut values = Deserializer::from_str(text).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

/// The text of the last member called `key` of the object that starts `text`.
fn raw_member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = text.trim_start_matches(SPACE).strip_prefix('{')?;
    let mut found = None;
    while let Some((name, length)) = value::<String>(rest) {
        rest = rest[length..].trim_start_matches(SPACE).strip_prefix(':')?;
        let (_, length) = value::<IgnoredAny>(rest)?;
        if name == key {
            found = Some(rest[..length].trim_start_matches(SPACE));
        }
        rest = rest[length..].trim_start_matches(SPACE);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    found
}

/// The call that `text`, what follows `<tool_call>`, starts with, and what follows the call.
fn call(text: &str) -> Option<(Part, &str)> {
    let (_, length) = value::<IgnoredAny>(text)?;
    let (object, rest) = text.split_at(length);
    let name: String = serde_json::from_str(raw_member(object, "name")?).ok()?;
    let arguments = raw_member(object, "arguments").unwrap_or("{}");
    let readable: Value = serde_json::from_str(arguments).ok()?;
    if name.is_empty() || !readable.is_object() {
        return None;
    }
    let rest = rest.trim_start_matches(SPACE);
    let rest = match rest.strip_prefix("</tool_call>") {
        Some(rest) => rest,
        None if "</tool_call>".starts_with(rest) => "",
        None => return None,
    };
    Some((Part::Call(name, arguments.to_owned()), rest))
}

/// Text and calls, without the whitespace that only separates.
fn content_parts(text: &str) -> Vec<Part> {
    let (mut texts, mut calls) = (vec![String::new()], Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<tool_call>") {
        texts.last_mut().unwrap().push_str(before);
        if let Some((found, after)) = call(after) {
            calls.push(found);
            texts.push(String::new());
            rest = after;
        } else {
            texts.last_mut().unwrap().push_str("<tool_call>");
            rest = after;
        }
    }
    texts.last_mut().unwrap().push_str(rest);

    let mut parts = Vec::new();
    let mut calls = calls.into_iter();
    // The runs of whitespace since the last text.
    let mut runs: Vec<&str> = Vec::new();
    let mut has_text = false;
    for text in &texts {
        let inner = text.trim_matches(SPACE);
        if inner.is_empty() {
            runs.push(text);
        } else {
            let lead = text.len() - text.trim_start_matches(SPACE).len();
            runs.push(&text[..lead]);
            let separator = match runs.as_slice() {
                [only] => only,
                _ if !has_text => "",
                runs => runs.iter().find(|run| !run.is_empty()).copied().unwrap_or(""),
            };
            parts.push(Part::Content(format!("{separator}{inner}")));
            has_text = true;
            runs = vec![&text[lead + inner.len()..]];
        }
        parts.extend(calls.next());
    }
    if let ([only], false) = (runs.as_slice(), runs.concat().is_empty()) {
        match parts.last_mut() {
            Some(Part::Content(text)) => text.push_str(only),
            _ => parts.push(Part::Content((*only).to_owned())),
        }
    }
    parts
}
