//! Why a model of the hub cannot be had.

use std::{io, path::PathBuf};

/// Errors of finding and downloading a model of the hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// It is not in the cache, and nothing may be downloaded.
    #[error(
        "model {id}{} is not found: there is no such path, and {} lacks {missing}",
        revision.as_ref().map(|revision| format!(" (revision {revision})")).unwrap_or_default(),
        folder.display()
    )]
    NotCached {
        /// What was asked for.
        id: String,
        /// The revision, if one was asked for.
        revision: Option<String>,
        /// The repository's folder in the cache.
        folder: PathBuf,
        /// What is not there.
        missing: String,
        /// Whether a variable of the environment forbids to download.
        offline: bool,
    },
    /// The hub has no such repository.
    #[error("model {id} is not found: there is no such path, and {endpoint} has no such model")]
    NotFound {
        /// What was asked for.
        id: String,
        /// Where.
        endpoint: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("model {id} has no revision {revision}")]
    NoRevision {
        /// The repository.
        id: String,
        /// What was asked for.
        revision: String,
    },
    /// The hub gives the model to nobody, or not to this user.
    #[error(
        "model {id} is refused by {endpoint} with status {status}: it {}",
        if *with_token { "is not open to the owner of the token, or does not exist" }
        else { "needs a token (HF_TOKEN), or does not exist" }
    )]
    Denied {
        /// The repository.
        id: String,
        /// Where.
        endpoint: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository has no file that was asked for, or no weights that can be read.
    #[error("model {id} has no {what}; it has {}", listed(has))]
    NoFile {
        /// The repository.
        id: String,
        /// What was looked for.
        what: String,
        /// Files that come into question.
        has: Vec<String>,
    },
    /// A file that must be joined with others first.
    #[error("{file} is part of a split GGUF file; join the parts with `llama-gguf-split --merge`")]
    Split {
        /// The file.
        file: String,
    },
    /// The hub could not be reached, or the connection broke too often.
    #[error("{url}: {message}")]
    Transfer {
        /// The address.
        url: String,
        /// What happened.
        message: String,
    },
    /// What arrived is not what was announced.
    #[error("{url} is damaged: {message}")]
    Damaged {
        /// The address.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// There is not enough room.
    #[error("the disk of {} is full: {needed} more bytes are needed{}", folder.display(), left(*free))]
    DiskFull {
        /// A folder on the disk.
        folder: PathBuf,
        /// Bytes that are missing of the files.
        needed: u64,
        /// Bytes that are free, where that is known.
        free: Option<u64>,
    },
    /// The cache cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl HubError {
    /// What to do about it, where that is not plain from the message.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotCached { offline: true, .. } => {
                Some("HF_HUB_OFFLINE is set: unset it to download the model".to_owned())
            }
            Self::NotCached { .. } => Some(
                "give a directory, a .gguf file, or a hub id that lies in the local Hugging Face \
                 cache; this program was built without downloads"
                    .to_owned(),
            ),
            Self::Denied { id, endpoint, .. } => Some(format!(
                "accept the model's conditions at {endpoint}/{id} and set HF_TOKEN to a token from \
                 {endpoint}/settings/tokens"
            )),
            Self::NoFile { id, has, .. } => {
                has.first().map(|file| format!("name one of them, such as {id}/{file}"))
            }
            Self::Transfer { .. } => {
                Some("starting again goes on where the download stopped".to_owned())
            }
            Self::DiskFull { .. } => Some(
                "free some space, or set HF_HUB_CACHE to a folder on another disk; what has \
                 arrived is kept"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn left(free: Option<u64>) -> String {
    free.map(|free| format!(", {free} are free")).unwrap_or_default()
}
