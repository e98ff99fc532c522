//! Flags of `eitri bench`.

mod compare;
mod here;
mod in_process;
mod reproduce;
mod serve;

use clap::{Args, Subcommand};

pub(crate) use compare::CompareArgs;
pub(crate) use here::HereArgs;
pub(crate) use in_process::{KernelArgs, LatencyArgs, SweepArgs, SweepFormat, ThroughputArgs};
pub(crate) use reproduce::{ModelledDevice, ReproduceArgs};
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
    /// Time of a batch from beginning to end, in this process; as in `vllm bench latency`
    Latency(Box<LatencyArgs>),
    /// Tokens per second of many requests at once, in this process; as in `vllm bench throughput`
    Throughput(Box<ThroughputArgs>),
    /// First tokens and decode steps over batches, prompt lengths and formats, beside the time that
    /// their bytes need
    Sweep(Box<SweepArgs>),
    /// Kernels as shares of the read bandwidth and of the multiply-adds that this machine can do,
    /// measured in the same run
    Kernel(KernelArgs),
    /// Compare result files, or two servers in turns; fails on a regression
    Compare(Box<CompareArgs>),
    /// Measure the published tables again and write them beside the published numbers and the floors
    Reproduce(Box<ReproduceArgs>),
    /// Measure models on this machine, beside another server if wanted, and write a page of results
    Here(Box<HereArgs>),
}
