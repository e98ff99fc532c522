//! Downloading into the cache.

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::StatusCode;

use super::{
    DownloadProgress, Hub, HubError, HubId, OnDownload, Pick,
    cache::Repository,
    client::{Client, Failure, Listing, Metadata, broken},
    select,
};

/// How often a request may fail in a row without a new byte.
const ATTEMPTS: u32 = 5;

/// Downloads what a model needs of a revision, and names the revision's commit when all is there.
pub(super) fn download(
    hub: &Hub,
    repository: &Repository,
    id: &HubId,
    revision: &str,
    on_download: OnDownload<'_>,
) -> Result<(), HubError> {
    let client = Client::new(hub, &id.repository);
    let listing = client.list(revision)?;
    let snapshot = repository.folder.join("snapshots").join(&listing.commit);
    let bytes = Cell::new((0, 0));
    let download = Download {
        client,
        repository,
        commit: &listing.commit,
        snapshot,
        bytes,
        report: on_download,
    };
    match gguf_file(id, &listing)? {
        Some(file) => download.files(&[file])?,
        None => download.safetensors(id, &listing)?,
    }
    if revision != listing.commit {
        let path = repository.folder.join("refs").join(revision);
        create_folder_of(&path)?;
        fs::write(&path, &listing.commit).map_err(|error| io_error(&path, error))?;
    }
    Ok(())
}

/// The GGUF file that is asked for; `None` for a model in safetensors.
fn gguf_file(id: &HubId, listing: &Listing) -> Result<Option<String>, HubError> {
    let no_file = |what: &str, has: Vec<String>| HubError::NoFile {
        id: id.repository.clone(),
        what: what.to_owned(),
        has,
    };
    let choose = |tag: Option<&str>| {
        let what = || match tag {
            Some(tag) => format!("single GGUF file of type {tag}"),
            None => "config.json with safetensors, and no single or Q4_K_M GGUF file".to_owned(),
        };
        let chosen = select::gguf(&listing.files, tag);
        chosen.map_err(|no_choice| no_file(&what(), no_choice.candidates))
    };
    let has = |name: &str| listing.files.iter().any(|file| file == name);
    let file = match &id.pick {
        Pick::File(file) if has(file) => file.as_str(),
        Pick::File(file) => {
            let gguf = listing.files.iter().filter(|file| select::is_gguf(file));
            return Err(no_file(&format!("file {file}"), gguf.cloned().collect()));
        }
        Pick::Quantisation(tag) => choose(Some(tag))?,
        Pick::Usual if has("config.json") && (has(select::SINGLE) || has(select::INDEX)) => {
            return Ok(None);
        }
        Pick::Usual => choose(None)?,
    };
    let name = file.to_ascii_lowercase();
    let is_part = name.rsplit_once("-of-").is_some_and(|(start, count)| {
        let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        count.strip_suffix(".gguf").is_some_and(is_number)
            && start.rsplit('-').next().is_some_and(is_number)
    });
    if is_part { Err(HubError::Split { file: file.to_owned() }) } else { Ok(Some(file.to_owned())) }
}

/// A snapshot in the making.
struct Download<'a> {
    client: Client<'a>,
    repository: &'a Repository,
    commit: &'a str,
    /// Its folder.
    snapshot: PathBuf,
    /// Bytes that are there and bytes that are needed, of all files so far.
    bytes: Cell<(u64, u64)>,
    report: OnDownload<'a>,
}

impl Download<'_> {
    fn safetensors(&self, id: &HubId, listing: &Listing) -> Result<(), HubError> {
        self.files(&select::companions(&listing.files))?;
        if !listing.files.iter().any(|file| file == select::INDEX) {
            return self.files(&[select::SINGLE.to_owned()]);
        }
        let path = self.snapshot.join(select::INDEX);
        let index = fs::read(&path).map_err(|error| io_error(&path, error))?;
        let url = || self.client.address(self.commit, select::INDEX);
        let index: Value = serde_json::from_slice(&index)
            .map_err(|error| HubError::Damaged { url: url(), message: error.to_string() })?;
        let shards: Vec<String> = select::shards(&index).into_iter().map(str::to_owned).collect();
        if let Some(missing) = shards.iter().find(|shard| !listing.files.contains(shard)) {
            return Err(HubError::NoFile {
                id: id.repository.clone(),
                what: format!("file {missing}, which its {} lists", select::INDEX),
                has: Vec::new(),
            });
        }
        self.files(&shards)
    }

    /// Downloads those of the files that are not there.
    fn files(&self, names: &[String]) -> Result<(), HubError> {
        let mut wanted = Vec::new();
        let mut needed = 0;
        for name in names.iter().filter(|name| !self.snapshot.join(name).is_file()) {
            let metadata = self.client.metadata(self.commit, name)?;
            let (done, total) = self.bytes.get();
            self.bytes.set((done, total + metadata.size));
            let there =
                self.blob(&metadata).metadata().or_else(|_| self.part(&metadata).metadata());
            needed += metadata.size.saturating_sub(there.map_or(0, |there| there.len()));
            wanted.push((name, metadata));
        }
        let blobs = self.repository.folder.join("blobs");
        fs::create_dir_all(&blobs).map_err(|error| io_error(&blobs, error))?;
        let free = free_bytes(&blobs);
        if let Some(free) = free.filter(|&free| free < needed) {
            return Err(HubError::DiskFull { folder: blobs, needed, free: Some(free) });
        }
        for (name, metadata) in wanted {
            self.file(name, &metadata)?;
        }
        Ok(())
    }

    fn blob(&self, metadata: &Metadata) -> PathBuf {
        self.repository.folder.join("blobs").join(&metadata.etag)
    }

    /// Where a blob is until it is whole.
    fn part(&self, metadata: &Metadata) -> PathBuf {
        self.blob(metadata).with_extension("incomplete")
    }

    fn file(&self, name: &str, metadata: &Metadata) -> Result<(), HubError> {
        let blob = self.blob(metadata);
        let (done, _) = self.bytes.get();
        {
            // Another process may be downloading the same file.
            let _lock = lock(&self.repository.locks.join(format!("{}.lock", metadata.etag)))?;
            if !blob.is_file() {
                let part = self.part(metadata);
                Blob { download: self, name, metadata, part: &part, done }.fill()?;
                fs::rename(&part, &blob).map_err(|error| io_error(&blob, error))?;
            }
        }
        self.report(name, done + metadata.size);
        link(&blob, metadata, &self.snapshot, name)
    }

    fn report(&self, file: &str, done_bytes: u64) {
        let (_, total_bytes) = self.bytes.get();
        self.bytes.set((done_bytes, total_bytes));
        (self.report)(DownloadProgress { file, done_bytes, total_bytes });
    }
}

/// A file on its way.
struct Blob<'a> {
    download: &'a Download<'a>,
    name: &'a str,
    metadata: &'a Metadata,
    part: &'a Path,
    /// Bytes of the files before it.
    done: u64,
}

impl Blob<'_> {
    /// Downloads what is missing of the file, and checks it.
    fn fill(&self) -> Result<(), HubError> {
        let size = self.metadata.size;
        let url = self.download.client.address(self.download.commit, self.name);
        let open = || OpenOptions::new().read(true).append(true).create(true).open(self.part);
        let mut file = open().map_err(|error| self.write_error(0, error))?;
        let mut hash = Sha256::new();
        let mut there = io::copy(&mut file, &mut hash).map_err(|e| io_error(self.part, e))?;
        let mut failures = 0;
        while there < size {
            let before = there;
            let failure = match self.download.client.content(&url, there) {
                Ok(mut response) => {
                    if there > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
                        // The server cannot go on in the middle.
                        file.set_len(0).map_err(|error| io_error(self.part, error))?;
                        (there, hash) = (0, Sha256::new());
                    }
                    let mut body = response.body_mut().as_reader();
                    self.receive(&url, &mut body, &mut file, &mut hash, &mut there)
                }
                Err(failure) => Err(failure),
            };
            match failure {
                Ok(()) => {}
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => {
                    failures = if there > before { 0 } else { failures + 1 };
                    if failures == ATTEMPTS {
                        return Err(error);
                    }
                    tracing::debug!(%error, "trying again from byte {there}");
                    if failures > 0 {
                        thread::sleep(self.download.client.pause() * (1 << (failures - 1)));
                    }
                }
            }
        }
        self.check(&url, there, hash)
    }

    /// Writes a body to the file until it ends.
    fn receive(
        &self,
        url: &str,
        body: &mut dyn Read,
        file: &mut File,
        hash: &mut Sha256,
        there: &mut u64,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if *there >= self.metadata.size => return Ok(()),
                Ok(0) => {
                    let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(Failure::Passing(broken(url, &end)));
                }
                Ok(count) => count,
                Err(error) => return Err(Failure::Passing(broken(url, &error))),
            };
            file.write_all(&buffer[..count])
                .map_err(|error| Failure::Final(self.write_error(*there, error)))?;
            hash.update(&buffer[..count]);
            *there += count as u64;
            self.download.report(self.name, self.done + *there);
        }
    }

    /// Removes a file that is not what was announced.
    fn check(&self, url: &str, there: u64, hash: Sha256) -> Result<(), HubError> {
        let Metadata { etag, size } = self.metadata;
        let found = format!("{:x}", hash.finalize());
        let message = if there > *size {
            format!("{there} bytes came, {size} were announced")
        } else if etag.len() == found.len() && *etag != found {
            format!("its SHA-256 is {found}, expected {etag}")
        } else {
            return Ok(());
        };
        fs::remove_file(self.part).map_err(|error| io_error(self.part, error))?;
        Err(HubError::Damaged { url: url.to_owned(), message })
    }

    fn write_error(&self, there: u64, error: io::Error) -> HubError {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&error.kind()) {
            let folder = self.part.parent().unwrap_or(self.part).to_owned();
            let needed = self.metadata.size.saturating_sub(there);
            return HubError::DiskFull { folder, needed, free: None };
        }
        io_error(self.part, error)
    }
}

fn io_error(path: &Path, error: io::Error) -> HubError {
    HubError::Io { path: path.to_owned(), error }
}

fn create_folder_of(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| io_error(folder, error))
}

/// Waits for the lock that `huggingface_hub` takes too; it is free when the file is dropped.
fn lock(path: &Path) -> Result<File, HubError> {
    create_folder_of(path)?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| io_error(path, error))?;
    file.lock().map_err(|error| io_error(path, error))?;
    Ok(file)
}

/// Gives a blob its name in a snapshot.
fn link(blob: &Path, metadata: &Metadata, snapshot: &Path, name: &str) -> Result<(), HubError> {
    let path = snapshot.join(name);
    create_folder_of(&path)?;
    // A link whose blob was removed.
    if path.is_symlink() {
        fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
    }
    #[cfg(unix)]
    let linked = {
        let _ = blob;
        let up = "../".repeat(2 + name.matches('/').count());
        std::os::unix::fs::symlink(format!("{up}blobs/{}", metadata.etag), &path)
    };
    #[cfg(not(unix))]
    let linked = {
        // Links need rights that few users have.
        let _ = metadata;
        fs::hard_link(blob, &path)
    };
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error(&path, error)),
        _ => Ok(()),
    }
}

/// Bytes that may still be written to a disk; `None` where the system does not tell.
#[cfg(target_os = "linux")]
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(target_os = "linux"))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}
