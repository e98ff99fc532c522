//! candle's own tests and models, from the registry, in a workspace of their own below `target`.
//!
//! candle-core, cudarc and candle-transformers are built as published. Of candle-kernels only the
//! part of `build.rs` is left out that compiles a static library which launches through libcudart;
//! it serves GGUF and fused-MoE products alone. Test files are copied byte for byte.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Device, Environment};
use crate::{cuda, workspace};

/// Test files of candle-core that are not run: the first needs the static library; the others
/// need features that are not CUDA.
const LEFT_OUT: &[&str] = &["quantized_tests.rs", "cutile_tests.rs", "metal_concurrent_tests.rs"];

/// Where in candle-kernels' build script the static library begins, and what ends the script.
const CUT_FROM: &str = "    let mut moe_sources = vec![";
const CUT_TO: &str = "    Ok(())\n";

/// A `cargo test` of all, ready to run.
pub(super) fn command(environment: &Environment<'_>) -> Result<Command> {
    let toolchain = cuda::Toolchain::find_or_install()?;
    let folder = workspace::root().join("target/gpu-test/candle");
    prepare(&folder)?;
    let mut command = Command::new("cargo");
    command.args(["test", "--no-fail-fast"]).current_dir(&folder);
    command.env("EITRI_ROOT", workspace::root());
    command.env("CUDA_HOME", toolchain.home());
    command.env("NVCC", toolchain.home().join("bin/nvcc"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(toolchain.home().join("bin")).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders)?);
    if environment.device == Device::Virtual {
        command.env("CUDA_COMPUTE_CAP", "110");
    }
    Ok(command)
}

/// Writes the workspace; files that are the same stay as they are, so that nothing is rebuilt.
fn prepare(folder: &Path) -> Result<()> {
    let root = workspace::root();
    let version = candle_version(&root)?;
    let sources = fetch(&folder.join("fetch"), &version)?;
    copy_kernels(&sources.kernels, &folder.join("candle-kernels"))?;
    let tests = folder.join("tests");
    for file in fs::read_dir(sources.core.join("tests"))? {
        let file = file?;
        let left_out = LEFT_OUT.iter().any(|name| file.file_name() == *name);
        if file.file_type()?.is_file() && !left_out {
            write(&tests.join(file.file_name()), &fs::read(file.path())?)?;
        }
    }
    // Our own tests of candle-transformers' models.
    copy_folder(&root.join("crates/xtask/fixtures/candle"), &tests)?;
    write(&folder.join("lib.rs"), b"")?;
    write(&folder.join("Cargo.toml"), manifest(&version).as_bytes())?;
    let stubs = cuda::link_stubs()?;
    let config = format!("[build]\nrustflags = [\"-Lnative={}\"]\n", stubs.display());
    write(&folder.join(".cargo/config.toml"), config.as_bytes())?;
    // The versions that the product is built with; cargo adds what only this workspace has.
    let lock = folder.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root.join("Cargo.lock"), lock)?;
    }
    Ok(())
}

/// The version of candle that the workspace pins.
fn candle_version(root: &Path) -> Result<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("candle-core = \"="))
        .and_then(|rest| rest.strip_suffix('"'))
        .context("Cargo.toml does not pin candle-core with candle-core = \"=VERSION\"")?;
    Ok(version.to_owned())
}

struct Sources {
    core: PathBuf,
    kernels: PathBuf,
}

/// Lets cargo download the crates and says where they are.
fn fetch(folder: &Path, version: &str) -> Result<Sources> {
    let manifest = format!(
        "[workspace]\n\n[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n\
         [lib]\npath = \"lib.rs\"\n\n[dependencies]\ncandle-core = \"={version}\"\n\
         candle-kernels = \"={version}\"\n"
    );
    write(&folder.join("lib.rs"), b"")?;
    write(&folder.join("Cargo.toml"), manifest.as_bytes())?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1"])
        .current_dir(folder)
        .output()
        .context("cannot run cargo metadata")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot fetch candle {version}: {error}");
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let find = |name: &str| -> Result<PathBuf> {
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let manifest = packages
            .filter(|package| package["name"] == name)
            .find_map(|package| package["manifest_path"].as_str())
            .with_context(|| format!("cargo metadata has no {name}"))?;
        Ok(Path::new(manifest).parent().unwrap_or(Path::new("")).to_owned())
    };
    Ok(Sources { core: find("candle-core")?, kernels: find("candle-kernels")? })
}

/// Copies candle-kernels without the part of its build script that is left out.
fn copy_kernels(from: &Path, to: &Path) -> Result<()> {
    copy_folder(&from.join("src"), &to.join("src"))?;
    write(&to.join("Cargo.toml"), &fs::read(from.join("Cargo.toml"))?)?;
    let script = fs::read_to_string(from.join("build.rs"))?;
    write(&to.join("build.rs"), cut(&script)?.as_bytes())
}

fn cut(script: &str) -> Result<String> {
    let changed = "candle-kernels' build.rs has changed; see which part makes the static library";
    let (before, rest) = script.split_once(CUT_FROM).context(changed)?;
    let (_, end) = rest.rsplit_once(CUT_TO).context(changed)?;
    Ok(format!("{before}{CUT_TO}{end}"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            write(&target, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn write(file: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, contents).with_context(|| format!("cannot write {}", file.display()))
}

/// The package: the features that candle-core's tests ask for, and the crates that they use.
///
/// Of candle-transformers a few functions are used, so its compile time weighs more than its speed.
/// Its own feature `cuda` stays off: with it Qwen3-MoE launches through libcudart.
fn manifest(version: &str) -> String {
    let cuda = format!("{{ version = \"={version}\", features = [\"cuda\"] }}");
    format!(
        "[workspace]
exclude = [\"fetch\", \"candle-kernels\"]

[package]
name = \"candle-tests\"
version = \"0.0.0\"
edition = \"2021\"

[lib]
path = \"lib.rs\"

[features]
default = [\"cuda\"]
cuda = []
metal = []

[dev-dependencies]
anyhow = \"1\"
candle-core = {cuda}
candle-nn = {cuda}
candle-transformers = \"={version}\"
cudarc = {{ version = \"0.19\", default-features = false, features = [\"dynamic-linking\"] }}
float8 = \"0.7\"
half = \"2\"
num-traits = \"0.2\"
rand = \"0.9\"
serde_json = \"1\"

[patch.crates-io]
candle-kernels = {{ path = \"candle-kernels\" }}

[profile.dev]
debug = false
opt-level = 1

[profile.dev.package.candle-transformers]
opt-level = 0
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_static_library_is_cut() {
        let script = format!(
            "fn main() -> Result<()> {{\n    build_ptx();\n{CUT_FROM}\n    ];\n    if x {{\n        \
             Ok(())\n    }}\n{CUT_TO}}}\n"
        );
        assert_eq!(
            cut(&script).unwrap(),
            format!("fn main() -> Result<()> {{\n    build_ptx();\n{CUT_TO}}}\n")
        );
        assert!(cut("fn main() {}").is_err());
    }
}
