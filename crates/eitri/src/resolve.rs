//! Where a model lies that was given as a path, a hub id or a short name.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// A model that is fetched by a command of this repository rather than given by a path.
struct Fetched {
    name: &'static str,
    /// Under `local/models`.
    file: &'static str,
    command: &'static str,
}

const FETCHED: [Fetched; 1] = [Fetched {
    name: "smollm2",
    file: "smollm2-135m-instruct-q4_1.gguf",
    command: "cargo xtask models smollm2",
}];

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// Directory or GGUF file.
    pub(crate) path: PathBuf,
    /// Its short name or hub id; `None` when it was given by its path.
    pub(crate) name: Option<String>,
}

/// Where models are looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// The Hugging Face cache: the folder that holds `models--ORG--NAME`.
    hub_cache: Option<PathBuf>,
    /// Folders with models that this repository's commands fetched.
    fetched: Vec<PathBuf>,
}

impl Places {
    /// The places that the environment names: `HF_HUB_CACHE`, `HF_HOME` or `~/.cache/huggingface`
    /// for hub ids, `local/models` below the working directory or around the program for short
    /// names.
    pub(crate) fn of_environment() -> Self {
        let variable =
            |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let hub_cache = variable("HF_HUB_CACHE")
            .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/huggingface/hub")));
        let mut fetched = vec![PathBuf::from("local/models")];
        if let Ok(program) = env::current_exe() {
            // From target/PROFILE or target/PROFILE/examples up to the workspace.
            let folders = program.ancestors().skip(1).take(5);
            fetched.extend(
                folders.map(|folder| folder.join("local/models")).filter(|path| path.is_dir()),
            );
        }
        Self { hub_cache, fetched }
    }

    /// Finds `model`; whatever exists under that path comes first.
    pub(crate) fn locate(&self, model: &Path, revision: Option<&str>) -> Result<Location, Error> {
        if model.exists() {
            return Ok(Location { path: model.to_owned(), name: None });
        }
        let mut looked_in = vec![model.to_owned()];
        let name = model.to_str().unwrap_or_default();
        let mut fetched_by = None;
        if let Some(known) = FETCHED.iter().find(|known| known.name == name) {
            let candidates = self.fetched.iter().map(|folder| folder.join(known.file));
            looked_in = candidates.collect();
            if let Some(path) = looked_in.iter().find(|path| path.is_file()) {
                return Ok(Location { path: path.clone(), name: Some(name.to_owned()) });
            }
            fetched_by = Some(known.command);
        } else if let (Some(folder), Some(cache)) = (hub_folder(name), &self.hub_cache) {
            let folder = cache.join(folder);
            if let Some(path) = snapshot(&folder, revision) {
                return Ok(Location { path, name: Some(name.to_owned()) });
            }
            looked_in.push(folder);
        }
        let model = model.display().to_string();
        Err(Error::ModelNotFound { model, looked_in_paths: looked_in, fetched_by })
    }
}

/// The cache's folder for a hub id; `None` for what cannot be one.
fn hub_folder(id: &str) -> Option<String> {
    let (organisation, name) = id.split_once('/')?;
    let is_name = |part: &str| {
        let is_known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_known)
    };
    (is_name(organisation) && is_name(name)).then(|| format!("models--{organisation}--{name}"))
}

/// The snapshot of a branch, tag or commit; without one, of `main`, or the only one there is.
fn snapshot(folder: &Path, revision: Option<&str>) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let named = |revision: &str| {
        let commit = fs::read_to_string(folder.join("refs").join(revision)).ok();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "c0ffee\n").unwrap();
    }

    fn places(root: &Path) -> Places {
        Places { hub_cache: Some(root.join("hub")), fetched: vec![root.join("local/models")] }
    }

    #[test]
    fn a_path_that_exists_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x.gguf");
        write(&file);
        let found = places(root.path()).locate(&file, None).unwrap();
        assert_eq!(found, Location { path: file, name: None });
    }

    #[test]
    fn a_hub_id_is_found_by_branch_commit_or_as_the_only_one() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let folder = root.path().join("hub/models--Qwen--Qwen3-0.6B");
        let id = Path::new("Qwen/Qwen3-0.6B");
        write(&folder.join("snapshots/abc/config.json"));
        let only = places.locate(id, None).unwrap();
        assert_eq!(only.path, folder.join("snapshots/abc"));
        assert_eq!(only.name.as_deref(), Some("Qwen/Qwen3-0.6B"));
        write(&folder.join("snapshots/c0ffee/config.json"));
        assert!(places.locate(id, None).is_err(), "two snapshots and no refs/main");
        write(&folder.join("refs/main"));
        assert_eq!(places.locate(id, None).unwrap().path, folder.join("snapshots/c0ffee"));
        let old = places.locate(id, Some("abc")).unwrap();
        assert_eq!(old.path, folder.join("snapshots/abc"));
        assert!(places.locate(id, Some("v2")).is_err());
    }

    #[test]
    fn a_short_name_that_is_not_there_says_how_to_get_it() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let error = places.locate(Path::new("smollm2"), None).unwrap_err();
        assert!(error.to_string().contains("smollm2-135m-instruct-q4_1.gguf"), "{error}");
        assert_eq!(error.hint().unwrap(), "`cargo xtask models smollm2` fetches it");
        let file = root.path().join("local/models/smollm2-135m-instruct-q4_1.gguf");
        write(&file);
        let found = places.locate(Path::new("smollm2"), None).unwrap();
        assert_eq!(found, Location { path: file, name: Some("smollm2".to_owned()) });
    }

    #[test]
    fn what_is_nowhere_is_named_with_the_places() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        for (model, part) in [
            ("no/such/model", "no/such/model"),
            ("Qwen/Qwen3-8B", "models--Qwen--Qwen3-8B"),
            ("../up/x", "../up/x"),
        ] {
            let error = places.locate(Path::new(model), None).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(hub_folder("../x"), None);
        assert_eq!(hub_folder("a/b/c"), None);
    }
}
