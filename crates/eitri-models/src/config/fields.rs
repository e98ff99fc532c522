//! Reading named values, of JSON or GGUF, with errors that say which and why.

use eitri_quant::gguf;
use serde_json::Value;

use crate::ModelError;

/// Where values come from.
#[derive(Clone, Copy)]
enum Values<'a> {
    Json(&'a serde_json::Map<String, Value>),
    Gguf(&'a std::collections::HashMap<String, gguf::Value>),
}

/// A JSON object or GGUF metadata under a key prefix. JSON `null` counts as absent.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    file: &'a str,
    /// Before the name in messages, and in GGUF in keys.
    prefix: String,
    values: Values<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn json(file: &'a str, object: &'a serde_json::Map<String, Value>) -> Self {
        Self { file, prefix: String::new(), values: Values::Json(object) }
    }

    pub(super) fn gguf(file: &'a str, header: &'a gguf::Gguf, prefix: &str) -> Self {
        Self { file, prefix: prefix.to_owned(), values: Values::Gguf(&header.metadata) }
    }

    /// The object in a JSON field.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, ModelError> {
        match self.json_value(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Self {
                file: self.file,
                prefix: format!("{}{name}.", self.prefix),
                values: Values::Json(object),
            })),
            Some(other) => Err(self.error(name, "an object", other)),
        }
    }

    pub(super) fn json_value(&self, name: &str) -> Option<&'a Value> {
        match self.values {
            Values::Json(object) => object.get(name).filter(|value| !value.is_null()),
            Values::Gguf(_) => None,
        }
    }

    fn gguf_value(&self, name: &str) -> Option<&'a gguf::Value> {
        match self.values {
            Values::Gguf(metadata) => metadata.get(&format!("{}{name}", self.prefix)),
            Values::Json(_) => None,
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.json_value(name).is_some() || self.gguf_value(name).is_some()
    }

    fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        from_json: impl Fn(&'a Value) -> Option<T>,
        from_gguf: impl Fn(&'a gguf::Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        if let Some(value) = self.json_value(name) {
            return from_json(value).map(Some).ok_or_else(|| self.error(name, expected, value));
        }
        let Some(value) = self.gguf_value(name) else {
            return Ok(None);
        };
        from_gguf(value)
            .map(Some)
            .ok_or_else(|| self.error(name, expected, shortened(&format!("{value:?}"))))
    }

    /// A size from 1 to `limit`.
    pub(super) fn optional_size(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<Option<usize>, ModelError> {
        let expected = format!("a whole number from 1 to {limit}");
        let within = |value: u64| (1..=limit).contains(&value).then_some(value as usize);
        self.optional(name, &expected, |v| within(v.as_u64()?), |v| within(v.as_u64()?))
    }

    pub(super) fn size(&self, name: &str, limit: u64) -> Result<usize, ModelError> {
        self.optional_size(name, limit)?.ok_or_else(|| {
            self.error(name, &format!("a whole number from 1 to {limit}"), "nothing")
        })
    }

    pub(super) fn index(&self, name: &str) -> Result<Option<u32>, ModelError> {
        let id = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
        self.optional(name, "a token id", |v| id(v.as_u64()), |v| id(v.as_u64()))
    }

    /// A finite number.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        self.optional(name, "a finite number", |v| finite(v.as_f64()), |v| finite(v.as_f64()))
    }

    /// A finite number above 0.
    pub(super) fn positive(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let positive = |v: Option<f64>| v.filter(|&v| v.is_finite() && v > 0.0);
        let expected = "a finite number above 0";
        self.optional(name, expected, |v| positive(v.as_f64()), |v| positive(v.as_f64()))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.optional(name, "true or false", Value::as_bool, gguf::Value::as_bool)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        self.optional(name, "a string", Value::as_str, gguf::Value::as_str)
    }

    /// One token id or a list of them.
    pub(super) fn token_ids(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        let id = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        let ids = |value: &Value| match value {
            Value::Array(values) => values.iter().map(id).collect(),
            other => id(other).map(|id| vec![id]),
        };
        Ok(self.optional(name, "a token id or a list of them", ids, |_| None)?.unwrap_or_default())
    }

    pub(super) fn error(
        &self,
        name: &str,
        expected: &str,
        got: impl std::fmt::Display,
    ) -> ModelError {
        ModelError::Field {
            file: self.file.to_owned(),
            field: format!("{}{name}", self.prefix),
            expected: expected.to_owned(),
            got: shortened(&got.to_string()),
        }
    }

    pub(super) fn unsupported(
        &self,
        name: &str,
        value: impl std::fmt::Display,
        hint: &str,
    ) -> ModelError {
        ModelError::Unsupported {
            file: self.file.to_owned(),
            field: format!("{}{name}", self.prefix),
            value: shortened(&value.to_string()),
            hint: if hint.is_empty() { String::new() } else { format!("; {hint}") },
        }
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }
}

/// Values in messages are not longer than a line.
fn shortened(value: &str) -> String {
    const MOST: usize = 80;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}
