//! The command line of `eitri bench`.

mod serve;

use clap::{Args, Subcommand};

pub(crate) use serve::BenchServeArgs;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Send requests to a server and measure; flags and output are those of `vllm bench serve`
    Serve(Box<BenchServeArgs>),
}
