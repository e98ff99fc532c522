//! Rules of the house that a compiler does not check.

mod dependencies;
mod files;

use anyhow::{Result, bail};

use crate::workspace;

/// Runs every gate and prints all violations before failing.
pub(crate) fn check_all() -> Result<()> {
    let metadata = workspace::metadata()?;
    let files = workspace::files()?;
    let root = workspace::root();
    let mut violations = Vec::new();
    violations.extend(dependencies::edges(&metadata));
    violations.extend(dependencies::licences(&metadata));
    violations.extend(dependencies::banned(&workspace::built_packages()?));
    violations.extend(files::too_long(&root, &files)?);
    violations.extend(files::absolute_paths(&root, &files)?);
    violations.extend(files::top_level(&files));
    for violation in &violations {
        println!("gate: {violation}");
    }
    if violations.is_empty() {
        println!("gates: dependency edges, licences, banned crates, file length, paths: all hold");
        Ok(())
    } else {
        bail!("{} violations", violations.len())
    }
}
