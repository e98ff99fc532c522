//! Which files of a repository a model needs.

use std::collections::BTreeSet;

use serde_json::Value;

/// Weights in one file.
pub(super) const SINGLE: &str = "model.safetensors";
/// The list of weights in several.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// What is read of a directory beside the weights; a file of it may be absent.
#[cfg(feature = "hub")]
const COMPANIONS: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    INDEX,
];

/// The type that is taken of several GGUF files if none is named, as in llama.cpp.
const USUAL_TYPE: &str = "Q4_K_M";

/// Why no GGUF file could be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoChoice {
    pub(super) candidates: Vec<String>,
}

pub(super) fn is_gguf(name: &str) -> bool {
    name.len() > 5 && name[name.len() - 5..].eq_ignore_ascii_case(".gguf")
}

/// Whether a path stays below the folder it is joined to.
pub(super) fn is_plain_path(path: &str) -> bool {
    !path.contains(['\\', '\0', ':'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The GGUF file of a type; without one the only file, or else that of the usual type.
pub(super) fn gguf<'a>(files: &'a [String], tag: Option<&str>) -> Result<&'a str, NoChoice> {
    let candidates: Vec<&'a str> = files
        .iter()
        .map(String::as_str)
        .filter(|file| {
            // Projectors of images and calibration data end like models.
            let lower = file.to_ascii_lowercase();
            is_gguf(file) && !lower.contains("mmproj") && !lower.contains("imatrix")
        })
        .collect();
    if let ([only], None) = (candidates.as_slice(), tag) {
        return Ok(only);
    }
    let tag = tag.unwrap_or(USUAL_TYPE).to_ascii_lowercase();
    let has_tag = |file: &&str| {
        let stem = file[..file.len() - 5].to_ascii_lowercase();
        let name = stem.rsplit('/').next().unwrap_or(&stem);
        name.strip_suffix(&tag).is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '.']))
    };
    let mut matching = candidates.iter().copied().filter(has_tag);
    match (matching.next(), matching.next()) {
        (Some(file), None) => Ok(file),
        _ => Err(NoChoice { candidates: candidates.into_iter().map(str::to_owned).collect() }),
    }
}

/// Names of the files with weights that an index lists.
pub(super) fn shards(index: &Value) -> BTreeSet<&str> {
    let map = index["weight_map"].as_object();
    map.into_iter().flat_map(|map| map.values().filter_map(Value::as_str)).collect()
}

/// Files beside the weights that a repository with these files has.
#[cfg(feature = "hub")]
pub(super) fn companions(files: &[String]) -> Vec<String> {
    files.iter().filter(|file| COMPANIONS.contains(&file.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_gguf_file_is_chosen_by_the_end_of_its_name() {
        let files = names(&[
            "README.md",
            "Qwen3-8B-Q4_K_M.gguf",
            "Qwen3-8B-Q5_K_M.gguf",
            "Qwen3-8B-UD-Q4_K_XL.gguf",
            "BF16/Qwen3-8B.bf16.gguf",
            "mmproj-F16.gguf",
            "Qwen3-8B-imatrix.gguf",
        ]);
        for (tag, file) in [
            (Some("Q5_K_M"), "Qwen3-8B-Q5_K_M.gguf"),
            (Some("q5_k_m"), "Qwen3-8B-Q5_K_M.gguf"),
            (Some("UD-Q4_K_XL"), "Qwen3-8B-UD-Q4_K_XL.gguf"),
            (Some("BF16"), "BF16/Qwen3-8B.bf16.gguf"),
            (None, "Qwen3-8B-Q4_K_M.gguf"),
        ] {
            assert_eq!(gguf(&files, tag), Ok(file), "{tag:?}");
        }
        for tag in ["K_M", "Q6_K", "F16"] {
            let candidates = gguf(&files, Some(tag)).unwrap_err().candidates;
            assert_eq!(candidates.len(), 4, "{tag}: {candidates:?}");
        }
    }

    #[test]
    fn without_a_type_one_file_is_enough_and_several_need_the_usual_one() {
        assert_eq!(gguf(&names(&["a.Q2_K.GGUF", "x.txt"]), None), Ok("a.Q2_K.GGUF"));
        assert!(gguf(&names(&["a-Q2_K.gguf", "a-Q8_0.gguf"]), None).is_err());
        assert!(gguf(&names(&["a/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf"]), None).is_err());
        assert_eq!(gguf(&names(&["x.txt"]), None).unwrap_err().candidates, [""; 0]);
    }

    #[test]
    fn paths_that_leave_their_folder_are_seen() {
        for good in ["model.gguf", "Q4/model.gguf", "refs/pr/1", "v1.0"] {
            assert!(is_plain_path(good), "{good}");
        }
        for bad in ["", "../x", "a/../b", "/etc/passwd", "a//b", "a\\b", "C:x", "."] {
            assert!(!is_plain_path(bad), "{bad}");
        }
    }
}
