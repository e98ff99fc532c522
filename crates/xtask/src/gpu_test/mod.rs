//! `cargo xtask gpu-test`: CUDA programs on a real device, or on the virtual GPU.
//!
//! The programs do not know which: they open or are linked against `libcuda.so.1`, and the loader
//! finds NVIDIA's or, with the stand-in's folder in `LD_LIBRARY_PATH`, ours.

mod candle;
mod device;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cuda, workspace};
use device::Device;

const SUITES: &[&str] = &["driver", "candle"];

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    device: Option<Device>,
    /// Variables of the stand-in, with their values.
    settings: Vec<(&'static str, &'a str)>,
    suites: Vec<&'a str>,
    /// For `cargo test`.
    rest: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(arguments: &[&'a str]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().copied().with_context(|| format!("{argument} needs a value"));
            match *argument {
                "--real" => options.device = Some(Device::Real),
                "--virtual" => options.device = Some(Device::Virtual),
                "--schedule" => options.settings.push(("VGPU_SCHEDULE", value()?)),
                "--checks" => options.settings.push(("VGPU_CHECKS", value()?)),
                "--streams" => options.settings.push(("VGPU_STREAMS", value()?)),
                "--threads" => options.settings.push(("VGPU_THREADS", value()?)),
                "--suite" => options.suites.push(value()?),
                "--" => options.rest = arguments.by_ref().copied().collect(),
                other => bail!("unknown option {other:?}; options for cargo test stand after --"),
            }
        }
        for suite in &options.suites {
            ensure!(SUITES.contains(suite), "unknown suite {suite:?}; known: {SUITES:?}");
        }
        if options.suites.is_empty() {
            options.suites = SUITES.to_vec();
        }
        Ok(options)
    }
}

/// Runs the suites; fails if any does, after all have run.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let device = match options.device {
        Some(device) => device,
        None => device::choose()?,
    };
    println!("device: {device}");
    let loader = match device {
        Device::Real => None,
        Device::Virtual => Some(build_stand_in()?),
    };
    let environment = Environment { device, loader, settings: &options.settings };
    let mut failed = Vec::new();
    for suite in &options.suites {
        let mut command = match *suite {
            "driver" => driver_tests(),
            _ => candle::command(&environment)?,
        };
        environment.apply(command.args(&options.rest));
        println!("suite {suite}: {command:?}");
        if !command.status().context("cannot run cargo")?.success() {
            failed.push(*suite);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// What every suite's process finds.
struct Environment<'a> {
    device: Device,
    /// The stand-in's folder.
    loader: Option<PathBuf>,
    settings: &'a [(&'static str, &'a str)],
}

impl Environment<'_> {
    fn apply(&self, command: &mut Command) {
        if let Some(folder) = &self.loader {
            let others = std::env::var_os("LD_LIBRARY_PATH");
            let folders = std::iter::once(folder.clone())
                .chain(others.iter().flat_map(std::env::split_paths))
                .filter(|folder| !folder.as_os_str().is_empty());
            // Only a path with the separator in it cannot be joined; the build folder has none.
            if let Ok(joined) = std::env::join_paths(folders) {
                command.env("LD_LIBRARY_PATH", joined);
            }
        }
        command.env("EITRI_GPU", self.device.name());
        command.envs(self.settings.iter().copied());
    }
}

fn driver_tests() -> Command {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--locked", "--profile", "ci", "--package", "vgpu-driver"])
        .current_dir(workspace::root());
    command
}

/// Builds the stand-in and puts it into a folder under the names of NVIDIA's libraries.
fn build_stand_in() -> Result<PathBuf> {
    let root = workspace::root();
    let status = Command::new("cargo")
        .args(["build", "--locked", "--profile", "ci", "--package", "vgpu-driver"])
        .current_dir(&root)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the stand-in driver does not build");
    let folder = root.join("target/gpu-test/lib");
    link(&root.join("target/ci/libvgpu_driver.so"), &folder)?;
    Ok(folder)
}

fn link(library: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for soname in cuda::sonames() {
        let name = folder.join(soname);
        // A link of an earlier run may point to another build.
        if name.symlink_metadata().is_ok() {
            std::fs::remove_file(&name)?;
        }
        std::os::unix::fs::symlink(library, &name)
            .with_context(|| format!("cannot link {}", name.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_from_those_of_cargo_test() {
        let arguments =
            ["--virtual", "--streams", "random:1", "--suite", "candle", "--", "--test", "x"];
        let options = Options::parse(&arguments).unwrap();
        let expected = Options {
            device: Some(Device::Virtual),
            settings: vec![("VGPU_STREAMS", "random:1")],
            suites: vec!["candle"],
            rest: vec!["--test", "x"],
        };
        assert_eq!(options, expected);
        assert_eq!(Options::parse(&[]).unwrap().suites, SUITES);
        for wrong in [&["--suite", "all"][..], &["--schedule"], &["--test", "x"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
