//! Models of the Hugging Face hub: in its cache on this machine or, with the feature `hub`,
//! downloaded into it.
//!
//! The cache has the layout of the Python package `huggingface_hub`, and both can use one cache:
//! `models--ORG--NAME/blobs` holds contents by their `ETag`, `snapshots/COMMIT` links to them under
//! their names, and `refs/REVISION` says which commit a branch or tag was at.

mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
mod error;
mod select;
#[cfg(feature = "hub")]
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

pub use error::HubError;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadProgress<'a> {
    /// The file that is being downloaded, as the repository names it.
    pub file: &'a str,
    /// Bytes of all files that are there, those of earlier attempts included.
    pub done_bytes: u64,
    /// Bytes of all files that are known to be needed.
    pub total_bytes: u64,
}

/// Called when more of a file has arrived.
pub(crate) type OnDownload<'a> = &'a dyn Fn(DownloadProgress<'_>);

/// A model on the hub as it is written on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubId {
    /// `ORG/NAME`.
    pub(crate) repository: String,
    pub(crate) pick: Pick,
}

/// What is taken of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pick {
    /// `ORG/NAME`: its safetensors or, where it has none, its GGUF file.
    Usual,
    /// `ORG/NAME:Q5_K_M`: the GGUF file of this type.
    Quantisation(String),
    /// `ORG/NAME/PATH.gguf`.
    File(String),
}

impl HubId {
    /// `None` for what cannot be on the hub, such as `../x`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (organisation, rest) = text.split_once('/')?;
        let (name, pick) = if let Some((name, file)) = rest.split_once('/') {
            let is_gguf = select::is_gguf(file) && select::is_plain_path(file);
            (name, is_gguf.then(|| Pick::File(file.to_owned()))?)
        } else if let Some((name, tag)) = rest.split_once(':') {
            (name, is_name(tag).then(|| Pick::Quantisation(tag.to_owned()))?)
        } else {
            (rest, Pick::Usual)
        };
        let is_repository = is_name(organisation) && is_name(name);
        is_repository.then(|| Self { repository: format!("{organisation}/{name}"), pick })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pick {
            Pick::Usual => f.write_str(&self.repository),
            Pick::Quantisation(tag) => write!(f, "{}:{tag}", self.repository),
            Pick::File(file) => write!(f, "{}/{file}", self.repository),
        }
    }
}

fn is_name(part: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(is_known)
}

/// A secret that shall not get into logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where the cache is, and how the hub is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hub {
    /// The folder that holds `models--ORG--NAME`.
    pub(crate) cache: PathBuf,
    /// Base of all addresses, without a slash at its end.
    pub(crate) endpoint: String,
    pub(crate) token: Option<Token>,
    /// Read when there is no `token`.
    pub(crate) token_file: PathBuf,
    /// Whether nothing may be downloaded.
    pub(crate) offline: bool,
    /// Waiting before a second attempt; doubled with each one.
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "nothing is downloaded"))]
    pub(crate) pause: Duration,
}

impl Hub {
    /// What variables of the environment say, by the rules of `huggingface_hub`; `None` without a
    /// home.
    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let text = |name: &str| variable(name)?.into_string().ok();
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface")))?;
        let is_on = |name: &str| {
            let value = text(name).unwrap_or_default().to_ascii_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Some(Self {
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN").map(|token| Token(token.trim().to_owned())),
            token_file: path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")),
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            pause: Duration::from_millis(250),
        })
    }

    /// The directory or GGUF file of a model, from the cache or else downloaded into it.
    ///
    /// # Errors
    /// When it is neither there nor can be had.
    pub(crate) fn locate(
        &self,
        id: &HubId,
        revision: Option<&str>,
        on_download: OnDownload<'_>,
    ) -> Result<PathBuf, HubError> {
        let repository = cache::Repository::new(&self.cache, &id.repository);
        if let Some(revision) = revision
            && !select::is_plain_path(revision)
        {
            let (id, revision) = (id.repository.clone(), revision.to_owned());
            return Err(HubError::NoRevision { id, revision });
        }
        let missing = match repository.find(&id.pick, revision) {
            Ok(path) => return Ok(path),
            Err(missing) => missing,
        };
        if self.offline || cfg!(not(feature = "hub")) {
            return Err(self.not_cached(id, revision, &repository.folder, missing));
        }
        #[cfg(feature = "hub")]
        download::download(self, &repository, id, revision.unwrap_or("main"), on_download)?;
        #[cfg(not(feature = "hub"))]
        let _ = on_download;
        let revision = Some(revision.unwrap_or("main"));
        let found = repository.find(&id.pick, revision);
        found.map_err(|missing| self.not_cached(id, revision, &repository.folder, missing))
    }

    fn not_cached(
        &self,
        id: &HubId,
        revision: Option<&str>,
        folder: &Path,
        missing: String,
    ) -> HubError {
        HubError::NotCached {
            id: id.to_string(),
            revision: revision.map(str::to_owned),
            folder: folder.to_owned(),
            missing,
            offline: self.offline,
        }
    }
}
