//! The one command that decides whether a change is good.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cuda, gates, gpu_test, models, python, workspace};

/// Formatting, gates, lints, documentation, CUDA kernels, tests; stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    gates::check_all()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])?;
    documentation()?;
    cuda::run(&[])?;
    models::fetch_smollm2()?;
    python::install()?;
    // The end-to-end tests start this binary; same profile, so nothing is compiled twice.
    cargo(&["build", "--locked", "--profile", "ci", "--package", "eitri"])?;
    if has_nextest() {
        cargo(&["nextest", "run", "--locked", "--workspace", "--cargo-profile", "ci"])?;
        cargo(&["test", "--locked", "--workspace", "--profile", "ci", "--doc"])?;
    } else {
        cargo(&["test", "--locked", "--workspace", "--profile", "ci"])?;
    }
    // The workspace's tests have the driver's; this is candle on top of it.
    gpu_test::run(&["--virtual", "--suite", "candle", "--checks", "all"])
}

fn documentation() -> Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps", "--locked"];
    check(Command::new("cargo").args(arguments).env("RUSTDOCFLAGS", "--deny warnings"), &arguments)
}

fn has_nextest() -> bool {
    Command::new("cargo")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    check(Command::new("cargo").args(arguments), arguments)
}

fn check(command: &mut Command, arguments: &[&str]) -> Result<()> {
    println!("$ cargo {}", arguments.join(" "));
    let status = command.current_dir(workspace::root()).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}
