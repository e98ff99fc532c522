//! Texts for calibration.
//!
//! A file is JSON Lines if its first line that is not empty begins with `{`, and plain text else.
//! Each line of JSON is `{"text": "..."}` or `{"messages": [...]}` as in the chat API, with an
//! optional `tools` beside `messages`; other fields are ignored. Each line of plain text is a text.
//! Empty lines are skipped.

use std::{fs, path::Path};

use eitri_models::{CALIBRATION_TEXT_TOKENS, CALIBRATION_TOKENS};
use eitri_text::{ChatInput, ChatTemplate, Tokenizer};
use serde_json::{Map, Value};

use crate::Error;

/// Texts as tokens.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CalibrationTexts {
    pub(crate) tokens: Vec<Vec<u32>>,
    /// Texts that are longer than what is used of them.
    pub(crate) cut: usize,
    /// Texts after the last one that is used.
    pub(crate) left_out: usize,
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, has no text, or a line is not what it should be.
pub(crate) fn read(
    path: &Path,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<CalibrationTexts, Error> {
    let error =
        |line: usize, message: String| Error::Calibration { path: path.to_owned(), line, message };
    let content = fs::read_to_string(path).map_err(|cause| error(0, cause.to_string()))?;
    let lines = content.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let mut lines = lines.peekable();
    let is_json = lines.peek().is_some_and(|(line, _)| line.trim_start().starts_with('{'));
    let mut texts = CalibrationTexts::default();
    let mut left = CALIBRATION_TOKENS;
    for (line, number) in lines {
        if left == 0 {
            texts.left_out += 1;
            continue;
        }
        let mut tokens = if is_json {
            of_json(line, tokenizer, template).map_err(|cause| error(number, cause))?
        } else {
            tokenizer.encode(line, true)?
        };
        let most = left.min(CALIBRATION_TEXT_TOKENS);
        texts.cut += usize::from(tokens.len() > most);
        tokens.truncate(most);
        left -= tokens.len();
        texts.tokens.push(tokens);
    }
    if texts.tokens.iter().all(Vec::is_empty) {
        return Err(error(0, "has no text".to_owned()));
    }
    Ok(texts)
}

fn of_json(
    line: &str,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<Vec<u32>, String> {
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let in_words = |error: eitri_text::TextError| error.to_string();
    match (object.get("text"), object.get("messages")) {
        (Some(Value::String(text)), None) => tokenizer.encode(text, true).map_err(in_words),
        (None, Some(Value::Array(messages))) => {
            let Some(template) = template else {
                return Err("has messages, but the model has no chat template".to_owned());
            };
            let input = ChatInput {
                messages,
                tools: object.get("tools").filter(|tools| !tools.is_null()),
                add_generation_prompt: false,
                continue_final_message: false,
                kwargs: &Map::new(),
            };
            let text = template.render(&input).map_err(in_words)?;
            tokenizer.encode(&text, false).map_err(in_words)
        }
        _ => Err("must have either text, a string, or messages, an array".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundled;

    fn model() -> (Tokenizer, ChatTemplate) {
        let model = bundled::find("robot").unwrap();
        let tokenizer =
            Tokenizer::from_bytes(model.tokenizer, model.tokenizer_config, None).unwrap();
        let template = ChatTemplate::load(None, &tokenizer).unwrap().unwrap();
        (tokenizer, template)
    }

    fn read_text(content: &str) -> Result<Vec<String>, String> {
        let (tokenizer, template) = model();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let texts = read(file.path(), &tokenizer, Some(&template));
        let texts = texts.map_err(|error| error.to_string())?;
        let decode = |tokens: &Vec<u32>| tokenizer.decode(tokens, false).unwrap();
        Ok(texts.tokens.iter().map(decode).collect())
    }

    #[test]
    fn lines_of_text_are_texts() {
        let texts = read_text("turn left\n\n  drive {on}\r\n").unwrap();
        assert_eq!(texts, ["turn left", "  drive {on}"]);
    }

    #[test]
    fn lines_of_json_are_texts_or_conversations() {
        let lines = [
            r#"{"text": "go\nhome", "source": "x"}"#,
            r#"{"messages": [{"role": "user", "content": "turn left"}]}"#,
        ];
        let texts = read_text(&lines.join("\n")).unwrap();
        assert_eq!(texts[0], "go\nhome");
        assert!(texts[1].contains("user\nturn left"), "{texts:?}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (content, expected) in [
            ("{\"text\": \"a\"}\nplain\n", "line 2: not a JSON object"),
            ("\n{\"text\": 3}", "line 2: must have either text, a string, or messages"),
            ("\n \n", "has no text"),
        ] {
            let error = read_text(content).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn no_more_is_read_than_is_used() {
        let (tokenizer, template) = model();
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = "turn left ".repeat(3000);
        fs::write(file.path(), format!("{line}\n").repeat(40)).unwrap();
        let texts = read(file.path(), &tokenizer, Some(&template)).unwrap();
        let tokens: usize = texts.tokens.iter().map(Vec::len).sum();
        assert_eq!(tokens, CALIBRATION_TOKENS);
        assert_eq!((texts.tokens.len(), texts.cut, texts.left_out), (32, 32, 8));
    }
}
