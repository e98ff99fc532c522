//! `eitri bench`.

mod beside;
mod compare;
mod facts;
mod here;
mod in_process;
mod kernel;
mod latency;
mod load;
mod reproduce;
mod rig;
mod serve;
mod server_process;
mod sweep;
mod throughput;
mod tiny;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cli::{BenchArgs, BenchCommand};

pub(crate) fn run(arguments: &BenchArgs) -> Result<()> {
    match &arguments.command {
        BenchCommand::Serve(arguments) => serve::run(arguments),
        BenchCommand::Latency(arguments) => latency::run(arguments),
        BenchCommand::Throughput(arguments) => throughput::run(arguments),
        BenchCommand::Sweep(arguments) => sweep::run(arguments),
        BenchCommand::Kernel(arguments) => kernel::run(arguments),
        BenchCommand::Compare(arguments) => compare::run(arguments),
        BenchCommand::Reproduce(arguments) => reproduce::run(arguments),
        BenchCommand::Here(arguments) => here::run(arguments),
    }
}

/// Writes a result where one was asked for.
fn write_json(path: Option<&Path>, value: &Value) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, format!("{value:#}\n")).with_context(|| path.display().to_string())
}
