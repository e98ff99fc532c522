//! What the cache holds of a repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Pick, select};

/// A repository's folder in the cache.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// `models--ORG--NAME`.
    pub(super) folder: PathBuf,
    /// Folder of the lock files of its blobs.
    #[cfg(feature = "hub")]
    pub(super) locks: PathBuf,
}

impl Repository {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self {
            folder: cache.join(&name),
            #[cfg(feature = "hub")]
            locks: cache.join(".locks").join(name),
        }
    }

    /// The directory or GGUF file of a revision if all of it is there, or else what is missing.
    pub(super) fn find(&self, pick: &Pick, revision: Option<&str>) -> Result<PathBuf, String> {
        let Some(snapshot) = self.snapshot(revision) else {
            let revision = revision.unwrap_or("main");
            return Err(format!("a snapshot of {revision}"));
        };
        match pick {
            Pick::File(file) => {
                let path = snapshot.join(file);
                if path.is_file() { Ok(path) } else { Err(file.clone()) }
            }
            Pick::Quantisation(tag) => {
                let files = files(&snapshot);
                match select::gguf(&files, Some(tag)) {
                    Ok(file) => Ok(snapshot.join(file)),
                    Err(_) => Err(format!("a GGUF file of type {tag}")),
                }
            }
            Pick::Usual => {
                let has = |name: &str| snapshot.join(name).is_file();
                if has("config.json") && (has(select::INDEX) || has(select::SINGLE)) {
                    return weights_of(&snapshot).map(|()| snapshot);
                }
                match select::gguf(&files(&snapshot), None) {
                    Ok(file) => Ok(snapshot.join(file)),
                    Err(_) if has("config.json") => Err(select::SINGLE.to_owned()),
                    Err(_) => Err("config.json".to_owned()),
                }
            }
        }
    }

    /// The snapshot of a branch, tag or commit; without one, of `main`, or the only one there is.
    fn snapshot(&self, revision: Option<&str>) -> Option<PathBuf> {
        let snapshots = self.folder.join("snapshots");
        let named = |revision: &str| {
            let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok();
            let path = snapshots.join(commit.as_deref().map_or(revision, str::trim));
            path.is_dir().then_some(path)
        };
        if let Some(revision) = revision {
            return named(revision);
        }
        named("main").or_else(|| {
            let mut all = snapshots.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
            let only = all.next()?;
            all.next().is_none().then_some(only)
        })
    }
}

/// Whether all files with weights are there; if not, the name of one.
fn weights_of(snapshot: &Path) -> Result<(), String> {
    let there =
        |name: &str| if snapshot.join(name).is_file() { Ok(()) } else { Err(name.to_owned()) };
    match fs::read(snapshot.join(select::INDEX)) {
        Ok(index) => {
            // A damaged index is reported, with the reason, when the model is opened.
            let index: Value = serde_json::from_slice(&index).unwrap_or_default();
            select::shards(&index).into_iter().try_for_each(there)
        }
        Err(_) => there(select::SINGLE),
    }
}

/// Files of a snapshot and of the folders in it, with their paths inside the snapshot.
fn files(snapshot: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in snapshot.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() {
            found.push(name);
            continue;
        }
        let inner = entry.path().read_dir().into_iter().flatten().flatten();
        found.extend(
            inner
                .filter(|inner| inner.path().is_file())
                .map(|inner| format!("{name}/{}", inner.file_name().to_string_lossy())),
        );
    }
    found.sort_unstable();
    found
}
