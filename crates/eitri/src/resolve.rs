//! Where a model lies that was given as a path, a hub id or a short name.

use std::{
    env,
    path::{Path, PathBuf},
};

use eitri_models::{EmbeddedModel, ModelFiles};

use crate::{
    DownloadProgress, Error,
    bundled::{self, ROBOT, ROBOT_MOE},
    hub::{Hub, HubId},
};

/// A model that this repository has or fetches, known by a short name.
struct Known {
    name: &'static str,
    /// Within the repository.
    path: &'static str,
    /// The command that fetches it, if it is not part of the repository.
    command: Option<&'static str>,
}

const KNOWN: [Known; 3] = [
    Known { name: ROBOT, path: "models/robot", command: None },
    Known { name: ROBOT_MOE, path: "models/robot-moe", command: None },
    Known {
        name: "smollm2",
        path: "local/models/smollm2-135m-instruct-q4_1.gguf",
        command: Some("cargo xtask models smollm2"),
    },
];

/// A model that was found.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) source: Source,
    /// Its short name or hub id; `None` when it was given by its path.
    pub(crate) name: Option<String>,
}

/// Where a model is.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A directory or GGUF file.
    Path(PathBuf),
    /// Part of the program.
    Bundled(&'static EmbeddedModel),
}

impl Location {
    fn at(path: PathBuf, name: Option<&str>) -> Self {
        Self { source: Source::Path(path), name: name.map(str::to_owned) }
    }

    /// Directory or GGUF file; `None` for a part of the program.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Path(path) => Some(path),
            Source::Bundled(_) => None,
        }
    }

    pub(crate) fn open(&self) -> Result<ModelFiles, Error> {
        Ok(match &self.source {
            Source::Path(path) => ModelFiles::open(path)?,
            Source::Bundled(model) => ModelFiles::from_embedded(model)?,
        })
    }
}

/// Where models are looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// The Hugging Face hub and its cache.
    hub: Option<Hub>,
    /// Folders that may be this repository.
    roots: Vec<PathBuf>,
}

impl Places {
    /// The places that the environment names: the variables of the Hugging Face hub, and for short
    /// names the working directory and the folders around the program.
    pub(crate) fn of_environment() -> Self {
        let hub = Hub::from_variables(|name| env::var_os(name));
        let mut roots = vec![PathBuf::from(".")];
        if let Ok(program) = env::current_exe() {
            // From target/PROFILE or target/PROFILE/examples up to the workspace.
            roots.extend(program.ancestors().skip(1).take(5).map(Path::to_owned));
        }
        Self { hub, roots }
    }

    /// Finds `model`; whatever exists under that path comes first. What is only on the hub is
    /// downloaded.
    pub(crate) fn locate(
        &self,
        model: &Path,
        revision: Option<&str>,
        on_download: &dyn Fn(DownloadProgress<'_>),
    ) -> Result<Location, Error> {
        if model.exists() {
            return Ok(Location::at(model.to_owned(), None));
        }
        let name = model.to_str().unwrap_or_default();
        if let Some(model) = bundled::find(name) {
            return Ok(Location { source: Source::Bundled(model), name: Some(name.to_owned()) });
        }
        let mut looked_in = vec![model.to_owned()];
        let mut fetched_by = None;
        if let Some(known) = KNOWN.iter().find(|known| known.name == name) {
            looked_in = self.roots.iter().map(|root| root.join(known.path)).collect();
            if let Some(path) = looked_in.iter().find(|path| path.exists()) {
                return Ok(Location::at(path.clone(), Some(name)));
            }
            fetched_by = known.command;
        } else if let (Some(id), Some(hub)) = (HubId::parse(name), &self.hub) {
            return Ok(Location::at(hub.locate(&id, revision, on_download)?, Some(name)));
        }
        let model = model.display().to_string();
        Err(Error::ModelNotFound { model, looked_in_paths: looked_in, fetched_by })
    }
}

/// Downloads a model of the hub that is not on this machine, so that [`crate::EngineBuilder::plan`]
/// finds it there. Does nothing for any other model, or when it is there already. `progress` is
/// called when more of it has arrived; a process that ends meanwhile loses nothing: the next call
/// goes on where it stopped.
///
/// # Errors
/// When the model is not found, the hub cannot be reached or refuses it, or the disk is full.
pub fn fetch(
    model: &Path,
    revision: Option<&str>,
    progress: &dyn Fn(DownloadProgress<'_>),
) -> Result<(), Error> {
    Places::of_environment().locate(model, revision, progress).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn locate(places: &Places, model: &Path, revision: Option<&str>) -> Result<Location, Error> {
        places.locate(model, revision, &|_| {})
    }

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "c0ffee\n").unwrap();
    }

    fn places(root: &Path) -> Places {
        let variable = |name: &str| match name {
            "HF_HOME" => Some(root.into()),
            "HF_HUB_OFFLINE" => Some("1".into()),
            _ => None,
        };
        Places { hub: Hub::from_variables(variable), roots: vec![root.to_owned()] }
    }

    #[test]
    fn a_path_that_exists_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x.gguf");
        write(&file);
        let found = locate(&places(root.path()), &file, None).unwrap();
        assert_eq!((found.path(), found.name.as_deref()), (Some(file.as_path()), None));
    }

    #[test]
    fn a_hub_id_is_found_by_branch_commit_or_as_the_only_one() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let folder = root.path().join("hub/models--Qwen--Qwen3-0.6B");
        let id = Path::new("Qwen/Qwen3-0.6B");
        write(&folder.join("snapshots/abc/config.json"));
        assert!(locate(&places, id, None).is_err(), "no weights");
        write(&folder.join("snapshots/abc/model.safetensors"));
        let only = locate(&places, id, None).unwrap();
        assert_eq!(only.path(), Some(folder.join("snapshots/abc").as_path()));
        assert_eq!(only.name.as_deref(), Some("Qwen/Qwen3-0.6B"));
        write(&folder.join("snapshots/c0ffee/config.json"));
        write(&folder.join("snapshots/c0ffee/model.safetensors"));
        assert!(locate(&places, id, None).is_err(), "two snapshots and no refs/main");
        write(&folder.join("refs/main"));
        let main = locate(&places, id, None).unwrap();
        assert_eq!(main.path(), Some(folder.join("snapshots/c0ffee").as_path()));
        let old = locate(&places, id, Some("abc")).unwrap();
        assert_eq!(old.path(), Some(folder.join("snapshots/abc").as_path()));
        assert!(locate(&places, id, Some("v2")).is_err());
    }

    #[test]
    fn a_short_name_that_is_not_there_says_how_to_get_it() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let error = locate(&places, Path::new("smollm2"), None).unwrap_err();
        assert!(error.to_string().contains("smollm2-135m-instruct-q4_1.gguf"), "{error}");
        assert_eq!(error.hint().unwrap(), "`cargo xtask models smollm2` fetches it");
        let file = root.path().join("local/models/smollm2-135m-instruct-q4_1.gguf");
        write(&file);
        let found = locate(&places, Path::new("smollm2"), None).unwrap();
        assert_eq!((found.path(), found.name.as_deref()), (Some(file.as_path()), Some("smollm2")));
    }

    #[cfg(feature = "bundled-model")]
    #[test]
    fn the_bundled_model_is_found_unless_something_has_its_name() {
        let root = tempfile::tempdir().unwrap();
        let found = locate(&places(root.path()), Path::new("robot"), None).unwrap();
        assert!(matches!(found.source, Source::Bundled(model) if model.name == "robot"));
        write(&root.path().join("robot"));
        let file = root.path().join("robot");
        let found = locate(&places(root.path()), &file, None).unwrap();
        assert_eq!(found.path(), Some(file.as_path()));
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
            let error = locate(&places, Path::new(model), None).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
