//! Reading a request body with errors that name the field.

use serde::{Deserializer, de::DeserializeOwned};

/// A body that is not JSON, or not the JSON that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// The field, for example `messages[0].role`; `None` when the text is no JSON object at all.
    pub path: Option<String>,
    /// What is wrong and at which line and column.
    pub message: String,
}

/// Reads a request.
///
/// # Errors
/// Names the first field that is missing or has the wrong type, or says where the JSON is broken.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            locate(&path, &error.to_string())
        } else {
            JsonError { path: None, message: error.to_string() }
        }
    })?;
    deserializer.end().map_err(|error| JsonError { path: None, message: error.to_string() })?;
    Ok(value)
}

/// Completes the path with what only the message knows: the name of a missing field, and the path
/// inside of flattened fields, which [`flattened`] puts in front.
fn locate(path: &str, message: &str) -> JsonError {
    let outer = (path != ".").then_some(path);
    let flattened = message.strip_prefix('`').and_then(|rest| rest.split_once("`: "));
    let (inner, message) = if let Some((inner, message)) = flattened {
        (Some(inner), message)
    } else {
        let field = message.strip_prefix("missing field `");
        (field.and_then(|rest| Some(rest.split_once('`')?.0)), message)
    };
    let path = match (outer, inner) {
        (Some(outer), Some(inner)) => Some(format!("{outer}.{inner}")),
        (outer, inner) => outer.or(inner).map(str::to_owned),
    };
    JsonError { path, message: message.to_owned() }
}

/// Reads flattened fields. Serde hands these over after the object has been read, when the outer
/// tracker no longer knows the path, so it is tracked here.
pub(crate) fn flattened<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    read: impl FnOnce(serde_path_to_error::Deserializer<'_, '_, D>) -> Result<T, D::Error>,
) -> Result<T, D::Error> {
    let mut track = serde_path_to_error::Track::new();
    read(serde_path_to_error::Deserializer::new(deserializer, &mut track)).map_err(|error| {
        let path = track.path();
        serde::de::Error::custom(format_args!("`{path}`: {error}"))
    })
}
