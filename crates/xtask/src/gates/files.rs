//! What a tracked file may look like.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Longest source file, tests included.
const MAX_LINES: usize = 500;

const SOURCE_ENDINGS: &[&str] = &["rs", "cu", "cuh", "py", "html", "js"];

const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".config",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "crates",
    "docker",
    "docs",
    "kernels",
    "models",
    "rustfmt.toml",
    "tests",
];

/// Source files over [`MAX_LINES`] lines; a file whose first line says `@generated` is exempt.
pub(super) fn too_long(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for path in files {
        let is_source = path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|ending| SOURCE_ENDINGS.contains(&ending));
        if !is_source {
            continue;
        }
        let text = fs::read_to_string(root.join(path))
            .with_context(|| format!("{} is not UTF-8", path.display()))?;
        let lines = text.lines().count();
        let generated = text.lines().next().is_some_and(|line| line.contains("@generated"));
        if lines > MAX_LINES && !generated {
            violations.push(format!("{} has {lines} lines, at most {MAX_LINES}", path.display()));
        }
    }
    Ok(violations)
}

/// Lines with a path that exists on one machine only.
pub(super) fn absolute_paths(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    // Put together here so that this file does not contain what it looks for.
    let needles: Vec<String> =
        ["home", "root", "Users", "work"].iter().map(|folder| format!("/{folder}/")).collect();
    let mut violations = Vec::new();
    for path in files {
        let bytes = fs::read(root.join(path))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for (index, line) in text.lines().enumerate() {
            if needles.iter().any(|needle| starts_a_path(line, needle)) {
                violations.push(format!("{}:{} has an absolute path", path.display(), index + 1));
            }
        }
    }
    Ok(violations)
}

/// Whether `needle` stands where a path begins, not in the middle of a relative one or of a URL.
fn starts_a_path(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !(before.is_alphanumeric() || "._-~}/$".contains(before)))
    })
}

/// Anything at the top that the layout does not know.
pub(super) fn top_level(files: &[PathBuf]) -> Vec<String> {
    let found: BTreeSet<String> = files
        .iter()
        .filter_map(|path| path.components().next())
        .map(|component| component.as_os_str().to_string_lossy().into_owned())
        .collect();
    found
        .into_iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| format!("{name} does not belong at the top level"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_told_from_relative_ones() {
        let needle = format!("/{}/", "home");
        assert!(starts_a_path(&format!("open(\"{needle}me/x\")"), &needle));
        assert!(starts_a_path(&format!("{needle}me"), &needle));
        assert!(!starts_a_path(&format!("docs{needle}page"), &needle));
        assert!(!starts_a_path(&format!("https://example.com{needle}"), &needle));
    }

    #[test]
    fn long_files_are_found_unless_generated() {
        let root = std::env::temp_dir().join(format!("eitri-xtask-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let long = "x\n".repeat(MAX_LINES + 1);
        fs::write(root.join("a.rs"), &long).unwrap();
        fs::write(root.join("b.rs"), format!("// @generated\n{long}")).unwrap();
        fs::write(root.join("c.txt"), &long).unwrap();
        let found = too_long(&root, &["a.rs".into(), "b.rs".into(), "c.txt".into()]).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [format!("a.rs has {} lines, at most {MAX_LINES}", MAX_LINES + 1)]);
    }
}
