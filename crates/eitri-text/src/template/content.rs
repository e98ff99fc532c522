//! The two forms of a message's `content`, and where a final message ends in a prompt.

use std::{borrow::Cow, fs, path::Path};

use serde_json::{Value, json};

use crate::TextError;

/// Which forms of `content` a template can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentFormat {
    strings: bool,
    parts: bool,
}

impl Default for ContentFormat {
    fn default() -> Self {
        Self { strings: true, parts: false }
    }
}

impl ContentFormat {
    /// Renders a probe in each form. A form is understood when the text appears and the structure
    /// around it does not.
    pub(super) fn probe(render: impl Fn(&[Value]) -> Option<String>) -> Self {
        const MARK: &str = "q7Zprobe";
        const KIND: &str = "q7Zkind";
        let shows = |content: &Value| {
            let user = json!({"role": "user", "content": content});
            let system = json!({"role": "system", "content": content});
            // Some templates refuse a system message, some a conversation without one.
            [vec![user.clone()], vec![system, user]].iter().any(|messages| {
                render(messages).is_some_and(|out| out.contains(MARK) && !out.contains(KIND))
            })
        };
        let strings = shows(&json!(MARK));
        let parts = shows(&json!([{"type": "text", "text": MARK, "probe": KIND}]));
        if strings || parts { Self { strings, parts } } else { Self::default() }
    }

    /// The messages in a form that the template can show.
    pub(super) fn adapt(self, messages: &[Value]) -> Result<Cow<'_, [Value]>, TextError> {
        let needs = |m: &Value| match m.get("content") {
            Some(Value::Array(_)) => !self.parts,
            Some(Value::String(_)) => !self.strings,
            _ => false,
        };
        if !messages.iter().any(needs) {
            return Ok(Cow::Borrowed(messages));
        }
        let mut adapted = messages.to_vec();
        for (index, message) in adapted.iter_mut().enumerate() {
            if !needs(message) {
                continue;
            }
            if let Some(content) = message.get_mut("content") {
                *content = match content.take() {
                    Value::Array(parts) => Value::String(join_parts(&parts, index)?),
                    text => json!([{"type": "text", "text": text}]),
                };
            }
        }
        Ok(Cow::Owned(adapted))
    }
}

/// The texts of all parts, one per line as vLLM joins them.
fn join_parts(parts: &[Value], message: usize) -> Result<String, TextError> {
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let text = match part {
            Value::String(text) => Some(text.as_str()),
            part => part.get("text").and_then(Value::as_str),
        };
        texts.push(text.ok_or_else(|| TextError::ChatInput {
            field: format!("messages[{message}].content[{index}]"),
            message: format!(
                "type {} is not supported by this model: it should be text",
                part.get("type").unwrap_or(&Value::Null)
            ),
        })?);
    }
    Ok(texts.join("\n"))
}

/// Cuts a prompt behind the text of its last message, so that the model goes on with it.
/// The rule is that of `transformers`: white space at the end of the message stays only where the
/// template kept it.
pub(super) fn cut_after_final_message(
    mut prompt: String,
    message: Option<&Value>,
) -> Result<String, TextError> {
    let refuse = |message: &str| TextError::ChatInput {
        field: "continue_final_message".to_owned(),
        message: message.to_owned(),
    };
    let content = message.and_then(|m| m.get("content"));
    let text = match content {
        Some(Value::String(text)) => text.as_str(),
        Some(Value::Array(parts)) => parts
            .iter()
            .rev()
            .find_map(|part| part.get("text").and_then(Value::as_str))
            .ok_or_else(|| refuse("the last message has no text to continue"))?,
        _ => return Err(refuse("the last message has no content to continue")),
    };
    let start = prompt.rfind(text.trim()).ok_or_else(|| {
        refuse("the template does not show the last message as it is, so it cannot be continued")
    })?;
    let kept = text.trim_start();
    let length = if prompt[start..].starts_with(kept) { kept.len() } else { text.trim().len() };
    prompt.truncate(start + length);
    Ok(prompt)
}

/// The text of a template given by a person: a file's name, or the template itself.
pub(super) fn read_explicit(text: &str) -> Result<String, TextError> {
    // No file name looks like this, and looking for one could fail on the length alone.
    if text.contains(['{', '\n']) {
        return Ok(text.to_owned());
    }
    let path = Path::new(text);
    fs::read_to_string(path).map_err(|source| TextError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_message_is_left_open() {
        let cut = |prompt: &str, content: Value| {
            cut_after_final_message(prompt.to_owned(), Some(&json!({"content": content})))
        };
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(cut("<u>x</u><a>x</a>", json!("x")).unwrap(), "<u>x</u><a>x");
        assert_eq!(cut("<a>x  </a>", json!(" x ")).unwrap(), "<a>x ");
        assert_eq!(cut("<a>x</a>", json!(" x ")).unwrap(), "<a>x");
        assert_eq!(cut("<a>ab</a>", parts).unwrap(), "<a>ab");
        assert!(cut("<a>y</a>", json!("x")).is_err());
        assert!(cut("<a>y</a>", Value::Null).is_err());
    }

    #[test]
    fn parts_other_than_text_are_named() {
        let messages = [json!({"role": "user", "content": [{"type": "image_url"}]})];
        let error = ContentFormat::default().adapt(&messages).unwrap_err().to_string();
        assert!(error.contains("messages[0].content[0]") && error.contains("image_url"), "{error}");
    }
}
