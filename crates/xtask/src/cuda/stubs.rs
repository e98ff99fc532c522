//! Libraries that have the symbols of NVIDIA's and no code, to link against where no driver is.
//!
//! The system's C compiler makes each from a list of symbols; their SONAMEs are those of CUDA 13, so
//! that a program linked against them finds the real libraries, or the stand-in, when it starts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Name as in `-lNAME`, and SONAME of CUDA 13.
pub(super) const LIBRARIES: &[(&str, &str)] = &[
    ("cuda", "libcuda.so.1"),
    ("cublas", "libcublas.so.13"),
    ("cublasLt", "libcublasLt.so.13"),
    ("curand", "libcurand.so.10"),
    ("nvrtc", "libnvrtc.so.13"),
];

/// Builds `lib*.so` in `folder` from `symbols/*.txt`, one symbol a line.
pub(super) fn build(symbols: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, soname) in LIBRARIES {
        let list = symbols.join(format!("{name}.txt"));
        let names = fs::read_to_string(&list)
            .with_context(|| format!("cannot read the symbols {}", list.display()))?;
        build_one(&names, soname, &folder.join(format!("lib{name}.so")))?;
    }
    Ok(())
}

fn build_one(names: &str, soname: &str, library: &Path) -> Result<()> {
    let source = library.with_extension("c");
    let functions = names.lines().map(|name| format!("void {name}(void) {{}}"));
    let code = functions.collect::<Vec<_>>().join("\n") + "\n";
    if library.is_file() && fs::read_to_string(&source).is_ok_and(|built| built == code) {
        return Ok(());
    }
    fs::write(&source, code)?;
    let compiler = PathBuf::from(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    let status = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-nostdlib", "-o"])
        .arg(library)
        .arg(format!("-Wl,-soname,{soname}"))
        .arg(&source)
        .status()
        .with_context(|| format!("cannot run {}", compiler.display()))?;
    ensure!(status.success(), "{} could not build {}", compiler.display(), library.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_has_its_soname_and_its_symbols() {
        let folder = std::env::temp_dir().join(format!("eitri-stubs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let library = folder.join("libcuda.so");
        build_one("cuInit\ncuDeviceGet\n", "libcuda.so.1", &library).unwrap();
        let bytes = fs::read(&library).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let contains = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(contains("libcuda.so.1"));
        assert!(contains("cuInit"));
        assert!(contains("cuDeviceGet"));
    }
}
