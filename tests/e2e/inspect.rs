//! `eitri inspect` of published checkpoints by their configuration.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eitri_tests::run;
use serde_json::Value;

fn inspect(arguments: &[&str]) -> String {
    let (code, text, error) = run(&[&["inspect"], arguments].concat()).unwrap();
    assert_eq!(code, Some(0), "{error}");
    text
}

#[test]
fn all_sixteen_are_listed_and_planned() {
    let names: Vec<String> =
        serde_json::from_str(&inspect(&["--config", "list", "--json"])).unwrap();
    assert_eq!(names.len(), 16);
    let list = inspect(&["--config", "list"]);
    assert!(list.contains("cpatonn/Qwen3-Coder-30B-A3B-Instruct-AWQ-4bit"), "{list}");
    for name in names {
        assert!(list.lines().any(|line| line.starts_with(&name)), "{name}");
        let text = inspect(&["--config", &name, "--json"]);
        let info: Value = serde_json::from_str(&text).unwrap();
        let rows = info["weights"].as_array().unwrap();
        let bytes = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
        assert_eq!(info["file_bytes"], bytes("file_bytes"), "{name}");
        assert_eq!(info["memory_bytes"], bytes("memory_bytes"), "{name}");
        assert_eq!(info["reads"][0]["bytes_per_step"], bytes("bytes_per_token"), "{name}");
        assert_eq!(info["reads"][1]["bytes_per_step"], bytes("bytes_per_step_of_8"), "{name}");
        assert!(rows.iter().all(|row| row["kernel"].is_string() && row["group"].is_string()));
        assert!(info["memory_plan"].is_null());
    }
}

/// By the definition of a bandwidth, and of the mean number of distinct experts.
#[test]
fn floors_are_bytes_over_bandwidth() {
    let name = "Qwen3-30B-A3B-FP8";
    let text = inspect(&["--config", name, "--bandwidth-gbps", "thor", "--json"]);
    let info: Value = serde_json::from_str(&text).unwrap();
    let read = &info["reads"][1];
    assert_eq!((&read["batch"], &read["context"]), (&8.into(), &0.into()));
    let distinct = read["distinct_experts"].as_f64().unwrap();
    assert!((distinct - 128.0 * (1.0 - (120.0_f64 / 128.0).powi(8))).abs() < 1e-9);
    let bytes = read["bytes_per_step"].as_f64().unwrap();
    for (floor, gbps) in read["floors"].as_array().unwrap().iter().zip([273.0, 243.0]) {
        assert_eq!(floor["gbps"], gbps);
        let step = floor["ms_per_step"].as_f64().unwrap();
        assert!((step / (1e3 * bytes / (gbps * 1e9)) - 1.0).abs() < 1e-12);
        assert!((floor["ms_per_token"].as_f64().unwrap() * 8.0 / step - 1.0).abs() < 1e-12);
    }
    let text = inspect(&["--config", name, "--bandwidth-gbps", "thor"]);
    for part in ["273", "243", "128x128", "e4m3 g128 bf16", "51.6", "FP8"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = inspect(&["--config", name, "--bandwidth-gbps", "100.5"]);
    assert!(text.contains("100.5 GB/s"), "{text}");
}

#[test]
fn wrong_names_and_bandwidths_are_refused() {
    let (code, _, error) = run(&["inspect", "--config", "Qwen3-9B"]).unwrap();
    assert!(code == Some(1) && error.contains("`--config list`"), "{error}");
    for bandwidth in ["0", "-1", "nan", "orin"] {
        let flag = format!("--bandwidth-gbps={bandwidth}");
        let (code, _, error) = run(&["inspect", "--config", "Qwen3-8B", &flag]).unwrap();
        assert!(code == Some(2) && error.contains("or thor"), "{error}");
    }
    for line in [["--config", "Qwen3-8B", "robot"], ["--dequantize", "x", "--dtype=f32"]] {
        let (code, ..) = run(&[&["inspect"], &line[..]].concat()).unwrap();
        assert_eq!(code, Some(2), "{line:?}");
    }
}
