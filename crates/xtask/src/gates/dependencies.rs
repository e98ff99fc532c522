//! Which crate may use which, under which licence.

use serde_json::Value;

/// Allowed edges of the workspace, as in ARCHITECTURE.md. Development dependencies are free.
const EDGES: &[(&str, &[&str])] = &[
    ("eitri-engine", &[]),
    ("eitri-openai", &[]),
    ("eitri-text", &["eitri-engine"]),
    ("eitri-server", &["eitri-openai", "eitri-text", "eitri-engine"]),
    ("eitri-bench", &["eitri-text"]),
    ("eitri-kernels", &[]),
    ("eitri-quant", &["eitri-kernels"]),
    ("eitri-models", &["eitri-quant", "eitri-kernels"]),
    ("eitri-runner", &["eitri-engine", "eitri-models", "eitri-quant", "eitri-kernels"]),
    (
        "eitri",
        &[
            "eitri-bench",
            "eitri-server",
            "eitri-openai",
            "eitri-text",
            "eitri-engine",
            "eitri-runner",
            "eitri-models",
            "eitri-quant",
            "eitri-kernels",
        ],
    ),
    ("vgpu", &[]),
    ("eitri-tests", &["eitri"]),
    ("vgpu-driver", &["vgpu"]),
    ("xtask", &["eitri-tests"]),
];

/// Crates that may know the tensor library; the other half compiles without it.
const TENSOR_HALF: &[&str] = &["eitri-kernels", "eitri-quant", "eitri-models", "eitri-runner"];

/// Crates that would bring a C build, a second TLS stack or an unsound past.
const BANNED: &[&str] = &["openssl-sys", "onig_sys", "aws-lc-sys", "ring", "native-tls"];

/// Licences that a static binary may carry.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "Unicode-3.0",
    "MIT-0",
];

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    packages(metadata).filter(|package| package["source"].is_null())
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

/// Every edge between workspace members that [`EDGES`] does not allow.
pub(super) fn edges(metadata: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    for member in members(metadata) {
        let member_name = name(member);
        let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == member_name) else {
            violations.push(format!("crate {member_name} is not in the list of allowed edges"));
            continue;
        };
        for dependency in member["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let target = name(dependency);
            if dependency["path"].is_string() && !allowed.contains(&target) {
                violations.push(format!("{member_name} may not depend on {target}"));
            }
            if target.starts_with("candle-") && !TENSOR_HALF.contains(&member_name) {
                violations.push(format!("{member_name} may not know {target}"));
            }
            if target == "candle-transformers" {
                violations.push(format!("{target} is a test oracle, {member_name} links it"));
            }
        }
    }
    violations
}

/// Packages whose licence expression has no alternative in [`LICENCES`].
pub(super) fn licences(metadata: &Value) -> Vec<String> {
    packages(metadata)
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or("(none)");
            let allowed = expression_allowed(licence);
            (!allowed).then(|| format!("{} has licence {licence}", name(package)))
        })
        .collect()
}

/// `OR` needs one allowed side, `AND` all of them; a slash is the old spelling of `OR`.
fn expression_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

/// Banned ones among the names of packages that are built.
pub(super) fn banned(built: &[String]) -> Vec<String> {
    built
        .iter()
        .filter(|name| BANNED.contains(&name.as_str()))
        .map(|name| format!("{name} is banned"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn licence_expressions() {
        assert!(expression_allowed("MIT OR GPL-3.0"));
        assert!(expression_allowed("MIT/Apache-2.0"));
        assert!(expression_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!expression_allowed("MIT AND GPL-3.0"));
        assert!(!expression_allowed("MPL-2.0"));
    }

    #[test]
    fn a_forbidden_edge_and_a_tensor_in_the_wrong_half_are_found() {
        let metadata = json!({"packages": [
            {"name": "eitri-engine", "source": null, "license": "MIT", "dependencies": [
                {"name": "eitri-models", "path": "x", "kind": null},
                {"name": "candle-core", "kind": null},
                {"name": "candle-core", "kind": "dev"},
            ]},
        ]});
        assert_eq!(edges(&metadata).len(), 2);
        let built = ["rustls".to_owned(), "ring".to_owned()];
        assert_eq!(banned(&built), ["ring is banned"]);
    }
}
