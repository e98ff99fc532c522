//! Sampling parameters for requests that are silent about them.

use std::path::{Path, PathBuf};

use eitri_models::GenerationConfig;
use serde_json::{Map, Value};

use crate::Error;

/// Where sampling defaults come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GenerationSource {
    /// The model's `generation_config.json`.
    #[default]
    Model,
    /// Nowhere: temperature 1 and no truncation.
    Neutral,
    /// `generation_config.json` in this directory.
    Directory(PathBuf),
}

/// Sampling parameters that requests get when they name none; `None` is the API's own default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SamplingDefaults {
    /// Softmax temperature; 1 where absent.
    pub temperature: Option<f32>,
    /// Number of most likely tokens kept; all where absent.
    pub top_k: Option<u32>,
    /// Probability mass kept; 1 where absent.
    pub top_p: Option<f32>,
    /// Least probability kept, relative to the largest; 0 where absent.
    pub min_p: Option<f32>,
    /// Penalty of tokens seen; 1 where absent.
    pub repetition_penalty: Option<f32>,
    /// Most tokens to generate; what the context leaves where absent.
    pub max_tokens: Option<u32>,
}

/// Names as in `generation_config.json`, with `max_tokens` as the API's name of `max_new_tokens`.
const FIELDS: [&str; 7] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "max_new_tokens",
    "max_tokens",
];

impl SamplingDefaults {
    /// Resolves a source for a model.
    pub(crate) fn load(source: &GenerationSource, model: &GenerationConfig) -> Result<Self, Error> {
        match source {
            GenerationSource::Model => Ok(Self::of_model(model)),
            GenerationSource::Neutral => Ok(Self::default()),
            GenerationSource::Directory(directory) => Self::read(directory),
        }
    }

    fn of_model(model: &GenerationConfig) -> Self {
        Self {
            temperature: model.temperature.map(|value| value as f32),
            top_k: model.top_k,
            top_p: model.top_p.map(|value| value as f32),
            min_p: model.min_p.map(|value| value as f32),
            repetition_penalty: model.repetition_penalty.map(|value| value as f32),
            max_tokens: model.max_new_tokens.and_then(|value| u32::try_from(value).ok()),
        }
    }

    fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("generation_config.json");
        let fail = |message| Error::GenerationConfig { file: path.display().to_string(), message };
        let bytes = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
        let object: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
        let mut defaults = Self::default();
        for (field, value) in object.iter().filter(|(field, _)| FIELDS.contains(&field.as_str())) {
            defaults.set(field, value).map_err(fail)?;
        }
        Ok(defaults)
    }

    /// Replaces the fields that `object` has. Names are those of `generation_config.json`.
    ///
    /// # Errors
    /// Names the field that is unknown or has a wrong value.
    pub fn override_with(&mut self, object: &Map<String, Value>) -> Result<(), Error> {
        let file = "--override-generation-config";
        object.iter().try_for_each(|(field, value)| {
            self.set(field, value)
                .map_err(|message| Error::GenerationConfig { file: file.to_owned(), message })
        })
    }

    fn set(&mut self, field: &str, value: &Value) -> Result<(), String> {
        let number = || match value {
            Value::Null => Ok(None),
            _ => match value.as_f64().filter(|value| value.is_finite() && *value >= 0.0) {
                Some(value) => Ok(Some(value as f32)),
                None => Err(format!("{field} must be a number of at least 0, got {value}")),
            },
        };
        let count = || match value {
            Value::Null => Ok(None),
            _ => match value.as_u64().and_then(|value| u32::try_from(value).ok()) {
                Some(value) => Ok(Some(value)),
                None => Err(format!("{field} must be a whole number, got {value}")),
            },
        };
        match field {
            "temperature" => self.temperature = number()?,
            "top_k" => self.top_k = count()?,
            "top_p" => self.top_p = number()?,
            "min_p" => self.min_p = number()?,
            "repetition_penalty" => self.repetition_penalty = number()?,
            "max_new_tokens" | "max_tokens" => self.max_tokens = count()?,
            _ => {
                return Err(format!("{field} is not known; known are {}", FIELDS.join(", ")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_override_wins_and_null_resets() {
        let model = GenerationConfig {
            temperature: Some(0.6),
            top_k: Some(20),
            top_p: Some(0.95),
            ..GenerationConfig::default()
        };
        let mut defaults = SamplingDefaults::load(&GenerationSource::Model, &model).unwrap();
        let change = json!({"temperature": 0, "top_k": null, "max_new_tokens": 7});
        defaults.override_with(&object(&change)).unwrap();
        let expected = SamplingDefaults {
            temperature: Some(0.0),
            top_p: Some(0.95),
            max_tokens: Some(7),
            ..SamplingDefaults::default()
        };
        assert_eq!(defaults, expected);
        let neutral = SamplingDefaults::load(&GenerationSource::Neutral, &model).unwrap();
        assert_eq!(neutral, SamplingDefaults::default());
    }

    #[test]
    fn wrong_fields_are_named() {
        for (change, part) in [
            (json!({"temprature": 1}), "temprature"),
            (json!({"top_k": -1}), "top_k"),
            (json!({"top_p": "0.9"}), "top_p"),
        ] {
            let error = SamplingDefaults::default().override_with(&object(&change)).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn a_directory_may_have_fields_that_do_not_concern_sampling() {
        let directory = tempfile::tempdir().unwrap();
        let source = GenerationSource::Directory(directory.path().to_owned());
        let error = SamplingDefaults::load(&source, &GenerationConfig::default()).unwrap_err();
        assert!(error.to_string().contains("generation_config.json"), "{error}");
        let text = r#"{"eos_token_id": [1, 2], "do_sample": true, "top_p": 0.8}"#;
        std::fs::write(directory.path().join("generation_config.json"), text).unwrap();
        let defaults = SamplingDefaults::load(&source, &GenerationConfig::default()).unwrap();
        assert_eq!(defaults, SamplingDefaults { top_p: Some(0.8), ..Default::default() });
    }
}
