//! `cargo xtask cuda`: the CUDA compiler, link stubs, and all kernels to PTX and SASS.

mod kernels;
mod ptx;
mod ptxas;
mod rules;
mod stubs;
mod toolchain;

use anyhow::{Result, bail};

pub(crate) use toolchain::Toolchain;

use crate::workspace;

/// Runs the steps that `options` name: `install`, `stubs`, `kernels`; all of them without options.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let steps = if options.is_empty() { &["install", "stubs", "kernels"][..] } else { options };
    for step in steps {
        match *step {
            "install" => println!("CUDA compiler: {}", Toolchain::find_or_install()?),
            "stubs" => println!("link stubs: {}", link_stubs()?.display()),
            "kernels" => build_kernels()?,
            other => bail!("unknown step {other:?}; known: install, stubs, kernels"),
        }
    }
    Ok(())
}

/// Names under which programs ask for the libraries.
pub(crate) fn sonames() -> impl Iterator<Item = &'static str> {
    stubs::LIBRARIES.iter().map(|(_, soname)| *soname)
}

/// Makes the libraries to link CUDA programs against and returns their folder.
pub(crate) fn link_stubs() -> Result<std::path::PathBuf> {
    let root = workspace::root();
    let folder = root.join("target/cuda/stubs");
    stubs::build(&root.join("crates/vgpu-driver/symbols"), &folder)?;
    Ok(folder)
}

/// Compiles `kernels/` into `target/cuda/kernels`; fails after all kernels if any breaks a rule.
pub(crate) fn build_kernels() -> Result<()> {
    let root = workspace::root();
    let toolchain = Toolchain::find_or_install()?;
    let output = root.join("target/cuda/kernels");
    let report = kernels::build(&toolchain, &root.join("kernels"), &output)?;
    print!("{report}");
    if report.violations.is_empty() { Ok(()) } else { bail!("kernels break the rules above") }
}
