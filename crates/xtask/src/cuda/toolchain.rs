//! The CUDA compiler: an installed one named by `CUDA_HOME`, or the pinned wheels in `local/cuda`.

use std::{
    env,
    fmt::{self, Display, Formatter},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// The oldest compiler that knows `sm_110a`.
const OLDEST: (u32, u32) = (13, 0);

/// Where the wheels put the compiler inside the folder that pip installs to.
const HOME_OF_WHEELS: &str = "nvidia/cu13";

/// A CUDA compiler that runs.
pub(crate) struct Toolchain {
    home: PathBuf,
    release: (u32, u32),
}

impl Toolchain {
    /// The compiler of `CUDA_HOME`; without it the wheels, which pip installs if they are missing.
    pub(crate) fn find_or_install() -> Result<Self> {
        if let Some(home) = env::var_os("CUDA_HOME").filter(|home| !home.is_empty()) {
            return Self::at(PathBuf::from(home)).context("CUDA_HOME names no usable compiler");
        }
        let root = workspace::root();
        let folder = root.join("local/cuda");
        install(&root.join("crates/xtask/cuda/requirements.txt"), &folder)?;
        Self::at(folder.join(HOME_OF_WHEELS))
    }

    /// The compiler that is there already, if any; installs nothing.
    #[cfg(test)]
    pub(crate) fn find() -> Option<Self> {
        let home = match env::var_os("CUDA_HOME").filter(|home| !home.is_empty()) {
            Some(home) => PathBuf::from(home),
            None => workspace::root().join("local/cuda").join(HOME_OF_WHEELS),
        };
        Self::at(home).ok()
    }

    fn at(home: PathBuf) -> Result<Self> {
        let nvcc = home.join("bin/nvcc");
        let output = Command::new(&nvcc)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {}", nvcc.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let release = release(&text)
            .with_context(|| format!("{} --version names no release", nvcc.display()))?;
        ensure!(
            release >= OLDEST,
            "{} is release {}.{}, sm_110a needs {}.{}",
            nvcc.display(),
            release.0,
            release.1,
            OLDEST.0,
            OLDEST.1
        );
        Ok(Self { home, release })
    }

    /// The folder with `bin`, `include` and `lib`.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A command line of `nvcc`.
    pub(crate) fn nvcc(&self) -> Command {
        Command::new(self.home.join("bin/nvcc"))
    }
}

impl Display for Toolchain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "release {}.{} in {}", self.release.0, self.release.1, self.home.display())
    }
}

/// Makes `folder` hold what `requirements` pins; does nothing if it does.
fn install(requirements: &Path, folder: &Path) -> Result<()> {
    let wanted = fs::read_to_string(requirements)?;
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let status = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement"])
        .arg(requirements)
        .arg("--target")
        .arg(folder)
        .status()
        .context("cannot run python3 -m pip; or name an installed compiler with CUDA_HOME")?;
    ensure!(status.success(), "pip could not install the CUDA compiler");
    fs::write(&stamp, wanted)?;
    Ok(())
}

/// The numbers in `Cuda compilation tools, release 13.0, V13.0.88`.
fn release(version: &str) -> Option<(u32, u32)> {
    let (_, rest) = version.split_once("release ")?;
    let (major, rest) = rest.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_what_nvcc_prints() {
        let printed = "Copyright (c) 2005-2025 NVIDIA Corporation\n\
                       Cuda compilation tools, release 13.0, V13.0.88\n";
        assert_eq!(release(printed), Some((13, 0)));
        assert_eq!(release("no such thing"), None);
    }

    #[test]
    fn every_requirement_is_pinned_with_a_hash_for_both_architectures() {
        let text = include_str!("../../cuda/requirements.txt");
        let pinned = text.lines().filter(|line| line.contains("==")).count();
        assert_eq!(pinned, 5);
        assert_eq!(text.matches("--hash=sha256:").count(), 2 * pinned);
    }
}
