//! A report in all its forms.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Report, csv, html, html::PageError, markdown};

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The page could not be made.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The file system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Report {
    /// Writes `results.md`, `.csv`, `.json` and `.html` into a directory and returns their paths.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>, ReportError> {
        let mut table = Vec::new();
        let in_memory = |source| ReportError::Io { path: directory.to_owned(), source };
        csv::write(self, &mut table).map_err(in_memory)?;
        let json = serde_json::to_string_pretty(self).map_err(PageError::from)?;
        let markdown = markdown::render(self).map_err(PageError::from)?;
        let forms = [
            ("md", markdown.into_bytes()),
            ("csv", table),
            ("json", json.into_bytes()),
            ("html", html::render(self)?.into_bytes()),
        ];
        fs::create_dir_all(directory).map_err(in_memory)?;
        forms
            .into_iter()
            .map(|(ending, bytes)| {
                let path = directory.join(format!("results.{ending}"));
                match fs::write(&path, bytes) {
                    Ok(()) => Ok(path),
                    Err(source) => Err(ReportError::Io { path, source }),
                }
            })
            .collect()
    }
}
