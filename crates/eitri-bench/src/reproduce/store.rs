//! Results on disk, so that a run of hours can be taken up again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{RowPlan, RowResult};
use crate::outcome::BenchOutcome;

/// A directory of results: `ROW.json` once all loads of a row are measured, and `ROW.LOAD.json` with
/// all records of each, for `bench compare`.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

/// Results cannot be stored or read again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A stored row is damaged.
    #[error("{}: not a stored row: {source}; remove it to measure the row again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
}

impl Store {
    /// A directory, which is made if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(|source| io_error(&directory, source))?;
        Ok(Self { directory })
    }

    /// The stored result of a row; none where there is none yet, or it was measured in another way.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn row(&self, plan: &RowPlan) -> Result<Option<RowResult>, StoreError> {
        let path = self.path(&plan.model);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(&path, source)),
        };
        let stored: RowResult =
            serde_json::from_str(&text).map_err(|source| StoreError::Damaged { path, source })?;
        Ok((stored.plan == *plan).then_some(stored))
    }

    pub(super) fn save_row(&self, row: &RowResult) -> Result<(), StoreError> {
        save(&self.path(&row.plan.model), row)
    }

    pub(super) fn save_outcome(
        &self,
        row: &RowPlan,
        load: &str,
        outcome: &BenchOutcome,
    ) -> Result<(), StoreError> {
        save(&self.path(&format!("{}.{load}", row.model)), outcome)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

/// Writes a file that has its name only once it is whole.
fn save(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let partial = path.with_extension("json.part");
    let text = serde_json::to_vec(value)
        .map_err(|source| StoreError::Damaged { path: path.to_owned(), source })?;
    fs::write(&partial, text).map_err(|source| io_error(&partial, source))?;
    fs::rename(&partial, path).map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}
