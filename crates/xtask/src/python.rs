//! The Python environment of the end-to-end tests.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Makes `local/python` hold what `tests/python/requirements.txt` names; does nothing if it does.
pub(crate) fn install() -> Result<()> {
    let root = workspace::root();
    let wanted = fs::read_to_string(root.join("tests/python/requirements.txt"))?;
    let folder = root.join("local/python");
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        println!("local/python is there");
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let requirements = root.join("tests/python/requirements.txt");
    run(pip(&folder).args(["install", "--quiet", "--requirement"]).arg(requirements))?;
    fs::write(&stamp, wanted)?;
    println!("local/python: installed");
    Ok(())
}

fn pip(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("bin").join("python"));
    command.args(["-m", "pip"]);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
