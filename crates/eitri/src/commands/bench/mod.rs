//! `eitri bench`.

mod serve;

use anyhow::Result;

use crate::cli::{BenchArgs, BenchCommand};

pub(crate) fn run(arguments: &BenchArgs) -> Result<()> {
    match &arguments.command {
        BenchCommand::Serve(arguments) => serve::run(arguments),
    }
}
