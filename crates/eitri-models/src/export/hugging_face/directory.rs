//! A directory that appears when it is complete, and the files beside the weights.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use eitri_quant::QuantError;
use serde_json::{Map, Value};

use crate::ModelError;

/// A directory under a temporary name beside its target, removed unless it was renamed.
pub(super) struct PartialDirectory {
    path: PathBuf,
    target: PathBuf,
    is_gone: bool,
}

impl PartialDirectory {
    /// Creates `.NAME.PID.part` beside `target`, so that renaming stays within one file system.
    pub(super) fn create(target: &Path) -> Result<Self, ModelError> {
        let path = beside(target, "part");
        fs::create_dir(&path).map_err(|error| write_error(target, error))?;
        Ok(Self { path, target: target.to_owned(), is_gone: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it. Returns its bytes.
    pub(super) fn add(&self, name: &str, content: &[u8]) -> Result<u64, ModelError> {
        fs::write(self.path.join(name), content)
            .map_err(|error| write_error(&self.target.join(name), error))?;
        Ok(content.len() as u64)
    }

    /// Writes an object into it. Returns its bytes.
    pub(super) fn add_json(&self, name: &str, object: &Value) -> Result<u64, ModelError> {
        self.add(name, format!("{object:#}\n").as_bytes())
    }

    /// Gives it its name. What has that name now is removed after that.
    pub(super) fn finish(mut self) -> Result<(), ModelError> {
        let error = |error| write_error(&self.target, error);
        let replaced = beside(&self.target, "old");
        let replaces = match fs::rename(&self.target, &replaced) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(other) => return Err(error(other)),
        };
        if let Err(renaming) = fs::rename(&self.path, &self.target) {
            if replaces {
                fs::rename(&replaced, &self.target).map_err(error)?;
            }
            return Err(error(renaming));
        }
        self.is_gone = true;
        if replaces {
            fs::remove_dir_all(&replaced).map_err(|error| write_error(&replaced, error))?;
        }
        Ok(())
    }
}

impl Drop for PartialDirectory {
    fn drop(&mut self) {
        if !self.is_gone {
            // What cannot be removed has a name that no program takes for a model's.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn beside(target: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or(target.as_os_str()));
    name.push(format!(".{}.{what}", std::process::id()));
    target.with_file_name(name)
}

fn write_error(path: &Path, error: io::Error) -> ModelError {
    QuantError::Write { path: path.to_owned(), error }.into()
}

/// Fails when a model would overwrite what is not one, or itself.
pub(super) fn check_target(target: &Path, source: Option<&Path>) -> Result<(), ModelError> {
    let refuse = |message: &str| {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, message);
        Err(write_error(target, error))
    };
    let Ok(metadata) = target.metadata() else { return Ok(()) };
    let same = |source: &Path| matches!((source.canonicalize(), target.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if source.is_some_and(same) {
        return refuse("it is the model that is read");
    }
    if !metadata.is_dir() {
        return refuse("it is a file; this format is a directory");
    }
    let mut entries = target.read_dir().map_err(|error| write_error(target, error))?;
    if entries.next().is_some() && !target.join("config.json").exists() {
        return refuse("it is a directory without config.json, so not a model to be replaced");
    }
    Ok(())
}

/// `config.json` with what says how the weights are quantised.
pub(super) fn with_quantization(mut config: Map<String, Value>, quantization: Value) -> Value {
    config.remove("compression_config");
    config.insert("quantization_config".to_owned(), quantization);
    Value::Object(config)
}
