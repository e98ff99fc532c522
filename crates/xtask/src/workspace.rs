//! Facts about the workspace that several commands need.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    // crates/xtask is two levels below the root, wherever the checkout lies.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// What `cargo metadata` says, resolved for all features.
pub(crate) fn metadata() -> Result<Value> {
    let output = cargo(&["metadata", "--format-version", "1", "--locked"])?;
    serde_json::from_slice(&output).context("cargo metadata printed no JSON")
}

/// Names of the packages that are built for any target, some more than once. `cargo metadata` also
/// has packages that a feature of another one mentions and that nothing builds.
pub(crate) fn built_packages() -> Result<Vec<String>> {
    let listing = ["--target", "all", "--edges", "all", "--prefix", "none", "--format", "{p}"];
    let output =
        cargo(&[&["tree", "--workspace", "--all-features", "--locked"][..], &listing].concat())?;
    let lines = String::from_utf8(output)?;
    Ok(lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// What a command of cargo prints.
fn cargo(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(root())
        .output()
        .with_context(|| format!("cannot run cargo {}", arguments.join(" ")))?;
    ensure!(
        output.status.success(),
        "cargo {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Files that git tracks or would add, relative to the root.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("cannot run git ls-files")?;
    ensure!(output.status.success(), "git ls-files failed");
    let root = root();
    Ok(String::from_utf8(output.stdout)?
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file())
        .collect())
}
