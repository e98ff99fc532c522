//! Compiles every family of `kernels/` and judges what the compiler says.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    ptx::{self, Entry},
    ptxas::{self, Resources},
    rules,
    toolchain::Toolchain,
};

/// The architecture of Thor with all its features; its code runs on nothing else.
const ARCHITECTURE: &str = "110a";

/// What was built, and which rules it breaks.
#[derive(Debug, Default)]
pub(super) struct Report {
    kernels: Vec<Resources>,
    pub(super) violations: Vec<String>,
}

/// Compiles `kernels/FAMILY/NAME.cu` to `output/FAMILY/NAME.ptx` and `.cubin`, and writes
/// `output/resources.tsv`: kernel, registers, static shared bytes, one line each.
pub(super) fn build(toolchain: &Toolchain, kernels: &Path, output: &Path) -> Result<Report> {
    let mut report = Report::default();
    for source in sources(kernels)? {
        let family = source.parent().and_then(Path::file_name).context("a source has no family")?;
        compile(toolchain, &source, &output.join(family), &mut report)?;
    }
    ensure!(!report.kernels.is_empty(), "{} has no kernel", kernels.display());
    let lines =
        report.kernels.iter().map(|Resources { kernel, registers, shared_bytes, .. }| {
            format!("{kernel}\t{registers}\t{shared_bytes}")
        });
    fs::write(output.join("resources.tsv"), lines.collect::<Vec<_>>().join("\n") + "\n")?;
    Ok(report)
}

/// Every `.cu` one folder below `kernels`, sorted.
fn sources(kernels: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for family in fs::read_dir(kernels).with_context(|| format!("no {}", kernels.display()))? {
        let family = family?.path();
        if !family.is_dir() {
            continue;
        }
        for file in fs::read_dir(&family)? {
            let file = file?.path();
            if file.extension().is_some_and(|ending| ending == "cu") {
                found.push(file);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn compile(toolchain: &Toolchain, source: &Path, folder: &Path, report: &mut Report) -> Result<()> {
    fs::create_dir_all(folder)?;
    let name = source.file_stem().context("a source has no name")?;
    let ptx_file = folder.join(name).with_extension("ptx");
    let cubin_file = folder.join(name).with_extension("cubin");
    let virtual_code = format!("arch=compute_{ARCHITECTURE},code=compute_{ARCHITECTURE}");
    let real_code = format!("arch=compute_{ARCHITECTURE},code=sm_{ARCHITECTURE}");
    nvcc(toolchain, source, &ptx_file, &["-ptx", "-gencode", &virtual_code])?;
    let messages =
        nvcc(toolchain, source, &cubin_file, &["-cubin", "-Xptxas", "-v", "-gencode", &real_code])?;
    let entries = ptx::entries(&fs::read_to_string(&ptx_file)?);
    for resources in ptxas::parse(&messages)? {
        let entry = entry_of(&entries, &resources, &ptx_file)?;
        let broken = rules::violations(entry, &resources);
        report.violations.extend(broken.into_iter().map(|b| format!("{}: {b}", source.display())));
        report.kernels.push(resources);
    }
    Ok(())
}

fn entry_of<'a>(entries: &'a [Entry], resources: &Resources, file: &Path) -> Result<&'a Entry> {
    entries
        .iter()
        .find(|entry| entry.name == resources.kernel)
        .with_context(|| format!("{} has no entry {}", file.display(), resources.kernel))
}

/// Runs nvcc and returns its messages.
fn nvcc(toolchain: &Toolchain, source: &Path, output: &Path, options: &[&str]) -> Result<String> {
    let mut command = toolchain.nvcc();
    command.args(["-std=c++17", "-O3", "-lineinfo", "-Werror", "all-warnings"]).args(options);
    let run = command.arg(source).arg("-o").arg(output).output().context("cannot run nvcc")?;
    let messages = String::from_utf8_lossy(&run.stderr).into_owned();
    if !run.status.success() {
        bail!("nvcc refused {}:\n{messages}", source.display());
    }
    Ok(messages)
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "registers  shared bytes  kernel (sm_{ARCHITECTURE})")?;
        for Resources { kernel, registers, shared_bytes, .. } in &self.kernels {
            writeln!(f, "{registers:9}  {shared_bytes:12}  {kernel}")?;
        }
        for violation in &self.violations {
            writeln!(f, "kernel rule: {violation}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds one file of `fixtures/kernels`; `None`, with a word why, where no compiler is.
    fn fixture(name: &str) -> Option<Report> {
        let Some(toolchain) = Toolchain::find() else {
            println!("skipped: no CUDA compiler; `cargo xtask cuda install` puts one there");
            return None;
        };
        let source = crate::workspace::root().join("crates/xtask/fixtures/kernels").join(name);
        let folder =
            std::env::temp_dir().join(format!("eitri-kernels-{}-{name}", std::process::id()));
        let mut report = Report::default();
        compile(&toolchain, &source, &folder, &mut report).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        Some(report)
    }

    #[test]
    fn each_bad_kernel_is_found_by_its_rule() {
        let rules = [
            ("spills.cu", "spills: spills "),
            ("local_array.cu", "local_array: uses 2048 bytes of local memory"),
            ("empty.cu", "empty: is empty"),
            ("prints.cu", "prints: has 1 of a call"),
            ("wmma.cu", "tile: has 4 of wmma"),
            ("unbounded.cu", "unbounded: has no __launch_bounds__"),
            ("static_shared.cu", "static_shared: declares 52000 bytes of shared memory"),
        ];
        for (file, rule) in rules {
            let Some(report) = fixture(file) else { return };
            let found = report.violations.iter().any(|violation| violation.contains(rule));
            assert!(found, "{file}: {:?}", report.violations);
        }
    }

    #[test]
    fn the_kernels_of_this_repository_keep_all_rules() {
        let Some(toolchain) = Toolchain::find() else { return };
        let folder = std::env::temp_dir().join(format!("eitri-all-{}", std::process::id()));
        let kernels = crate::workspace::root().join("kernels");
        let report = build(&toolchain, &kernels, &folder).unwrap();
        let table = fs::read_to_string(folder.join("resources.tsv")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(report.violations, Vec::<String>::new());
        assert!(table.lines().any(|line| line.starts_with("self_test_add_f32\t")), "{table}");
    }
}
