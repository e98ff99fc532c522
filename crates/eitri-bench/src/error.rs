use std::path::PathBuf;

/// What keeps a benchmark from starting or from being written down. Requests that fail are no
/// errors; they are recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A flag, or a combination of flags, that has no meaning.
    #[error("{flag}: {message}")]
    Flag {
        /// The flag as it is written.
        flag: &'static str,
        /// The value, and what would be right.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot access {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A data file that does not hold what its kind should.
    #[error("{}: {message}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Where in it, and what would be right.
        message: String,
    },
    /// The tokenizer or its chat template.
    #[error("tokenizer: {0}")]
    Text(#[from] eitri_text::TextError),
    /// The address of the server.
    #[error("server address {url:?}: {message}")]
    Address {
        /// As it was given.
        url: String,
        /// What would be right.
        message: String,
    },
    /// The server could not be asked what has to be known before the run.
    #[error("{url}: {message}")]
    Server {
        /// What was asked.
        url: String,
        /// What happened.
        message: String,
    },
}

impl BenchError {
    pub(crate) fn flag(flag: &'static str, message: impl Into<String>) -> Self {
        Self::Flag { flag, message: message.into() }
    }
}
