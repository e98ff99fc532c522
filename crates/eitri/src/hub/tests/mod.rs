mod stand_in;

use std::{cell::RefCell, fs, path::Path};

use tempfile::TempDir;

use super::*;
use stand_in::{Behaviour, COMMIT, OLD_COMMIT, StandIn};

/// Bytes that no compression or repetition would hide an error in.
fn weights(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

const INDEX: &str = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;

fn sharded() -> Behaviour {
    let files = [
        ("README.md", b"read me".to_vec(), false),
        ("config.json", b"{}".to_vec(), false),
        ("tokenizer.json", b"{\"t\": 1}".to_vec(), false),
        ("model.safetensors.index.json", INDEX.as_bytes().to_vec(), false),
        ("model-1.safetensors", weights(300_000), true),
        ("model-2.safetensors", weights(700_001), true),
        ("pytorch_model.bin", weights(10), true),
    ];
    let files = files.into_iter().map(|(name, bytes, large)| (name, (bytes, large))).collect();
    Behaviour { files, ..Behaviour::default() }
}

fn gguf(names: &[&'static str]) -> Behaviour {
    let files = names.iter().map(|&name| (name, (weights(1000 + name.len()), true))).collect();
    Behaviour { files, ..Behaviour::default() }
}

fn hub(home: &TempDir, stand_in: &StandIn, more: &[(&str, &str)]) -> Hub {
    let hub = Hub::from_variables(|name| {
        let given = more.iter().find(|(known, _)| *known == name);
        match name {
            "HF_HOME" => Some(home.path().into()),
            "HF_ENDPOINT" => Some(stand_in.endpoint.clone().into()),
            _ => given.map(|(_, value)| value.into()),
        }
    });
    Hub { pause: Duration::ZERO, ..hub.unwrap() }
}

fn locate(hub: &Hub, id: &str, revision: Option<&str>) -> Result<PathBuf, HubError> {
    hub.locate(&HubId::parse(id).unwrap(), revision, &|_| {})
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            files.extend(files_below(&path).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            files.push(name);
        }
    }
    files.sort_unstable();
    files
}

#[test]
fn what_is_needed_is_downloaded_once_and_found_without_network_afterwards() {
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(sharded()));
    let hub = hub(&home, &stand_in, &[]);
    let reports = RefCell::new(Vec::new());
    let id = HubId::parse("org/model").unwrap();
    let note = |progress: DownloadProgress<'_>| {
        reports.borrow_mut().push((progress.done_bytes, progress.total_bytes));
    };
    let path = hub.locate(&id, None, &note).unwrap();
    let folder = home.path().join("hub/models--org--model");
    assert_eq!(path, folder.join("snapshots").join(COMMIT));
    let needed = [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    assert_eq!(files_below(&path), needed);
    for (name, (bytes, _)) in sharded().files {
        if needed.contains(&name) {
            assert_eq!(fs::read(path.join(name)).unwrap(), bytes, "{name}");
            let target = fs::read_link(path.join(name)).unwrap();
            assert!(target.starts_with("../../blobs"), "{}", target.display());
        }
    }
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let reports = reports.into_inner();
    assert!(reports.is_sorted(), "{reports:?}");
    let (done, total) = *reports.last().unwrap();
    assert_eq!(done, total);
    assert_eq!(done as usize, 300_000 + 700_001 + 2 + 8 + INDEX.len());

    assert!(!stand_in.requests().is_empty());
    assert_eq!(locate(&hub, "org/model", None).unwrap(), path);
    assert_eq!(locate(&hub, "org/model", Some(COMMIT)).unwrap(), path);
    assert_eq!(stand_in.requests(), []);
    let offline = Hub { offline: true, ..hub };
    assert_eq!(locate(&offline, "org/model", None).unwrap(), path);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let behaviour = Behaviour { cuts: vec![100_000, 50_000], busy: 1, ..sharded() };
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(behaviour));
    let path = locate(&hub(&home, &stand_in, &[]), "org/model", None).unwrap();
    let ranges: Vec<Option<String>> = stand_in
        .requests()
        .into_iter()
        .filter(|request| request.path == "/store/model-1.safetensors")
        .map(|request| request.range)
        .collect();
    let expected = [None, Some("bytes=100000-".to_owned()), Some("bytes=150000-".to_owned())];
    assert_eq!(ranges, expected);
    assert_eq!(fs::read(path.join("model-1.safetensors")).unwrap(), weights(300_000));
}

#[test]
fn a_download_that_was_given_up_goes_on_at_the_next_start() {
    // Each attempt ends without a new byte after the first one.
    let behaviour = Behaviour { cuts: vec![100_000, 0, 0, 0, 0, 0], ..sharded() };
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(behaviour));
    let hub = hub(&home, &stand_in, &[]);
    let error = locate(&hub, "org/model", None).unwrap_err();
    assert!(matches!(error, HubError::Transfer { .. }), "{error}");
    assert!(error.hint().unwrap().contains("goes on"), "{error}");
    let folder = home.path().join("hub/models--org--model");
    assert!(!folder.join("refs/main").exists(), "a ref leads to complete snapshots only");
    let parts: Vec<String> =
        files_below(&folder.join("blobs")).into_iter().filter(|f| f.contains('.')).collect();
    assert_eq!(parts.len(), 1);
    assert!(parts[0].ends_with(".incomplete"), "{parts:?}");
    let size = fs::metadata(folder.join("blobs").join(&parts[0])).unwrap().len();
    assert_eq!(size, 100_000);

    stand_in.requests();
    let path = locate(&hub, "org/model", None).unwrap();
    let requests = stand_in.requests();
    let first = requests.iter().find(|request| request.path.starts_with("/store/")).unwrap();
    assert_eq!(first.range.as_deref(), Some("bytes=100000-"));
    assert!(!requests.iter().any(|request| request.path.ends_with("/config.json")), "it is there");
    assert_eq!(fs::read(path.join("model-1.safetensors")).unwrap(), weights(300_000));
    assert!(!files_below(&folder.join("blobs")).iter().any(|file| file.contains('.')));
}

#[test]
fn a_store_without_ranges_is_read_from_the_start_again() {
    let behaviour = Behaviour { cuts: vec![100_000], no_ranges: true, ..sharded() };
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(behaviour));
    let path = locate(&hub(&home, &stand_in, &[]), "org/model", None).unwrap();
    assert_eq!(fs::read(path.join("model-1.safetensors")).unwrap(), weights(300_000));
}

#[test]
fn damaged_content_is_refused_and_not_kept() {
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(sharded()));
    stand_in.change(|behaviour| behaviour.damaged = true);
    let hub = hub(&home, &stand_in, &[]);
    let error = locate(&hub, "org/model", None).unwrap_err();
    assert!(matches!(&error, HubError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("model-1.safetensors") && text.contains("SHA-256"), "{error}");
    stand_in.change(|behaviour| behaviour.damaged = false);
    let path = locate(&hub, "org/model", None).unwrap();
    assert_eq!(fs::read(path.join("model-1.safetensors")).unwrap(), weights(300_000));
}

#[test]
fn the_token_is_sent_to_the_hub_and_not_to_the_store() {
    let behaviour = Behaviour { token: Some("hf_x"), ..sharded() };
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(behaviour));
    let error = locate(&hub(&home, &stand_in, &[]), "org/model", None).unwrap_err();
    assert!(matches!(error, HubError::Denied { status: 401, with_token: false, .. }), "{error}");
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    let wrong = hub(&home, &stand_in, &[("HF_TOKEN", "hf_y")]);
    let error = locate(&wrong, "org/model", None).unwrap_err();
    assert!(error.to_string().contains("not open to the owner of the token"), "{error}");
    assert!(!format!("{wrong:?}").contains("hf_y"));

    stand_in.requests();
    // Neither variable is set: the file that `hf auth login` writes.
    fs::write(home.path().join("token"), "hf_x\n").unwrap();
    locate(&hub(&home, &stand_in, &[]), "org/model", None).unwrap();
    for request in stand_in.requests() {
        let is_store = request.path.starts_with("/store/");
        assert_eq!(request.authorization.is_none(), is_store, "{request:?}");
    }
    let other = tempfile::tempdir().unwrap();
    let with_variable = hub(&other, &stand_in, &[("HF_TOKEN", "hf_x")]);
    locate(&with_variable, "org/model", None).unwrap();
}

#[test]
fn a_revision_is_a_snapshot_of_its_own() {
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(sharded()));
    let hub = hub(&home, &stand_in, &[]);
    let main = locate(&hub, "org/model", None).unwrap();
    let old = locate(&hub, "org/model", Some("v1")).unwrap();
    assert!(main.ends_with(COMMIT) && old.ends_with(OLD_COMMIT));
    stand_in.requests();
    for revision in ["v1", OLD_COMMIT] {
        assert_eq!(locate(&hub, "org/model", Some(revision)).unwrap(), old);
    }
    assert_eq!(stand_in.requests(), []);
    // The contents are there already.
    assert_eq!(locate(&hub, "org/model", Some("refs/pr/1")).unwrap(), old);
    assert!(!stand_in.requests().iter().any(|request| request.path.contains("store")));
    let error = locate(&hub, "org/model", Some("v9")).unwrap_err();
    assert_eq!(error.to_string(), "model org/model has no revision v9");
    for revision in ["../../x", "a//b"] {
        let error = locate(&hub, "org/model", Some(revision)).unwrap_err();
        assert!(matches!(error, HubError::NoRevision { .. }), "{error}");
    }
}

#[test]
fn what_does_not_exist_is_named() {
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(sharded()));
    let hub = hub(&home, &stand_in, &[]);
    let error = locate(&hub, "org/other", None).unwrap_err().to_string();
    let expected = format!(
        "model org/other is not found: there is no such path, and {} has no such model",
        stand_in.endpoint
    );
    assert_eq!(error, expected);
    stand_in.change(|behaviour| {
        behaviour.files.retain(|name, _| !name.contains("safetensors"));
    });
    let error = locate(&hub, "org/model", None).unwrap_err();
    assert!(matches!(error, HubError::NoFile { .. }), "{error}");
    stand_in.change(|behaviour| {
        *behaviour = sharded();
        behaviour.files.remove("model-2.safetensors");
    });
    let error = locate(&hub, "org/model", None).unwrap_err().to_string();
    assert!(error.contains("model-2.safetensors, which its model.safetensors.index"), "{error}");
    // A cache without network says what it lacks.
    let offline = Hub { offline: true, ..hub };
    let error = locate(&offline, "org/model", None).unwrap_err();
    assert!(matches!(error, HubError::NotCached { offline: true, .. }), "{error}");
    assert!(error.to_string().contains("models--org--model"), "{error}");
    assert!(error.hint().unwrap().contains("HF_HUB_OFFLINE"));
}

#[test]
fn an_interrupted_snapshot_is_not_taken_for_a_whole_one() {
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(sharded()));
    let hub = hub(&home, &stand_in, &[]);
    let path = locate(&hub, "org/model", None).unwrap();
    // The link stays, its blob is gone.
    let shard = path.join("model-2.safetensors");
    fs::remove_file(fs::canonicalize(&shard).unwrap()).unwrap();
    let offline = Hub { offline: true, ..hub.clone() };
    let error = locate(&offline, "org/model", None).unwrap_err().to_string();
    assert!(error.ends_with("lacks model-2.safetensors"), "{error}");
    assert_eq!(locate(&hub, "org/model", None).unwrap(), path);
    assert_eq!(fs::read(shard).unwrap(), weights(700_001));
}

#[test]
fn gguf_files_are_taken_by_type_or_name() {
    let names =
        ["m-Q4_K_M.gguf", "m-Q5_K_M.gguf", "BF16/m-BF16.gguf", "m-Q8_0-00001-of-00002.gguf"];
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(gguf(&names)));
    let hub = hub(&home, &stand_in, &[]);
    for (id, name) in [
        ("org/model:q5_k_m", names[1]),
        ("org/model/m-Q5_K_M.gguf", names[1]),
        ("org/model:BF16", names[2]),
        ("org/model/BF16/m-BF16.gguf", names[2]),
        ("org/model", names[0]),
    ] {
        let path = locate(&hub, id, None).unwrap();
        assert!(path.ends_with(name), "{id}: {}", path.display());
        assert_eq!(fs::read(&path).unwrap(), weights(1000 + name.len()), "{id}");
        stand_in.requests();
        assert_eq!(locate(&hub, id, None).unwrap(), path);
        assert_eq!(stand_in.requests(), [], "{id}");
    }
    let error = locate(&hub, "org/model:Q6_K", None).unwrap_err().to_string();
    assert!(names.iter().all(|name| error.contains(name)) && error.contains("Q6_K"), "{error}");
    let error = locate(&hub, "org/model/m-Q6_K.gguf", None).unwrap_err().to_string();
    assert!(error.contains(names[0]), "{error}");
    let split = format!("org/model/{}", names[3]);
    let error = locate(&hub, &split, None).unwrap_err();
    assert!(matches!(error, HubError::Split { .. }), "{error}");
}

#[test]
fn a_disk_without_room_is_told_before_anything_large_is_downloaded() {
    let behaviour = Behaviour { announced: Some(1 << 60), ..sharded() };
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(behaviour));
    let error = locate(&hub(&home, &stand_in, &[]), "org/model", None).unwrap_err();
    assert!(matches!(error, HubError::DiskFull { needed, .. } if needed == 2 << 60), "{error}");
    assert!(!stand_in.requests().iter().any(|request| request.path.contains("store")));
}

#[test]
fn a_renamed_repository_is_followed() {
    let behaviour = Behaviour { renamed: true, token: Some("hf_x"), ..sharded() };
    let (home, stand_in) = (tempfile::tempdir().unwrap(), StandIn::start(behaviour));
    let hub = hub(&home, &stand_in, &[("HF_TOKEN", "hf_x")]);
    let path = locate(&hub, "org/model", None).unwrap();
    assert_eq!(fs::read(path.join("model-2.safetensors")).unwrap(), weights(700_001));
}

#[test]
fn variables_are_those_of_huggingface_hub() {
    let of = |given: &'static [(&str, &str)]| {
        Hub::from_variables(|name| {
            given.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    };
    let usual = of(&[("HOME", "/h"), ("HF_ENDPOINT", "")]).unwrap();
    assert_eq!(usual.cache, Path::new("/h/.cache/huggingface/hub"));
    assert_eq!(usual.token_file, Path::new("/h/.cache/huggingface/token"));
    assert_eq!((usual.endpoint.as_str(), usual.offline), ("https://huggingface.co", false));
    let cache = |given| of(given).unwrap().cache;
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
    assert_eq!(cache(&[("HF_HOME", "/m"), ("HOME", "/h")]), Path::new("/m/hub"));
    assert_eq!(cache(&[("HF_HUB_CACHE", "/d"), ("HF_HOME", "/m")]), Path::new("/d"));
    let mirror = of(&[("HOME", "/h"), ("HF_ENDPOINT", "http://m/"), ("HF_HUB_OFFLINE", "true")]);
    let mirror = mirror.unwrap();
    assert_eq!((mirror.endpoint.as_str(), mirror.offline), ("http://m", true));
    assert_eq!(of(&[]), None);
}

#[test]
fn ids_are_told_from_paths() {
    let parts = |text: &str| HubId::parse(text).map(|id| (id.repository, id.pick));
    let repository = || "Qwen/Qwen3-8B-GGUF".to_owned();
    assert_eq!(parts("Qwen/Qwen3-8B-GGUF"), Some((repository(), Pick::Usual)));
    let tag = Pick::Quantisation("Q5_K_M".to_owned());
    assert_eq!(parts("Qwen/Qwen3-8B-GGUF:Q5_K_M"), Some((repository(), tag)));
    let file = Pick::File("a/b.gguf".to_owned());
    assert_eq!(parts("Qwen/Qwen3-8B-GGUF/a/b.gguf"), Some((repository(), file)));
    for path in
        ["qwen", "../x", "./a/b", "/a/b", "a/b/c", "a/", "/b", "a/b:", "a/../b.gguf", "a b/c"]
    {
        assert_eq!(parts(path), None, "{path}");
    }
}
