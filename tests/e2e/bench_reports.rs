//! `eitri bench reproduce` and `compare`: servers as child processes, results that are kept, reports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use eitri_tests::run;
use serde_json::Value;

const ROWS: [&str; 4] = ["Qwen3-8B-AWQ", "Qwen3-8B-GGUF", "Qwen3-30B-A3B", "Qwen3-30B-A3B-FP8"];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The four rows whose names these are parts of, and `Qwen3-30B-A3B`'s siblings stay out.
fn rehearse(out: &Path) -> (Option<i32>, String, String) {
    let out = out.to_str().unwrap();
    let only = "8b-awq,8b-gguf,qwen3-30b-a3b";
    run(&["bench", "reproduce", "--scale", "tiny", "--only", only, "--out", out]).unwrap()
}

#[test]
fn a_rehearsal_measures_reports_and_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text, error) = rehearse(folder.path());
    assert_eq!(code, Some(0), "{text}{error}");
    let report: Value = serde_json::from_str(&read(&folder.path().join("results.json"))).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3 * ROWS.len());
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row["model"], ROWS[index / 3]);
        let (load, state) = [("high", "cold"), ("low", "warm"), ("low-cold", "cold")][index % 3];
        assert_eq!(row["load"], load);
        let ours = &row["ours"];
        let figures = &ours["figures"];
        assert_eq!(ours["origin"], "measured");
        let requests = if load == "high" { 16 } else { 4 };
        assert_eq!((&figures["completed"], &ours["failed"]), (&requests.into(), &0.into()));
        assert_eq!(figures["total_output_tokens"], requests * 24, "{row}");
        // By the usage records of the server.
        assert_eq!(ours["prompt_cache"]["state"], state, "{row}");
        assert!(ours["prompt_cache"]["evidence"]["usage"].is_object(), "{row}");
        assert!(row["remark"].as_str().unwrap().contains("a random"), "{row}");
        assert!(row["ratios"].is_null());
    }
    let page = read(&folder.path().join("results.html"));
    assert!(page.contains("<svg") && !page.contains("<script"));
    // Nothing is measured twice.
    let measured = folder.path().join("rows/Qwen3-8B-AWQ.json");
    let before = read(&measured);
    fs::remove_file(folder.path().join("rows/Qwen3-30B-A3B.json")).unwrap();
    let (code, _, error) = rehearse(folder.path());
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(error.matches("measured before").count(), 3, "{error}");
    assert_eq!(read(&measured), before);
}

#[test]
fn the_modelled_tables_mark_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let (code, text, error) =
        run(&["bench", "reproduce", "--modelled", "thor", "--out", out]).unwrap();
    assert_eq!(code, Some(0), "{error}");
    let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("!!! ")).collect();
    let expected = [
        "!!! Qwen3-8B-FP8, high load, published: beats the nominal floor",
        "!!! Qwen3-8B-FP8, low load, published: beats the nominal floor",
        "!!! Qwen3-30B-A3B-FP8, low load, published: beats the nominal floor",
        "!!! Qwen3-Coder-30B-A3B-Instruct-FP8, low load, published: beats the nominal floor",
    ];
    assert_eq!(marked.len(), expected.len(), "{text}");
    for (line, start) in marked.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
    let table = read(&folder.path().join("results.csv"));
    assert_eq!(table.lines().count(), 1 + 32 + 48);
}

#[test]
fn a_regression_fails_and_names_itself() {
    let folder = tempfile::tempdir().unwrap();
    let result = |name: &str, slower: f64| {
        let gaps: Vec<Vec<f64>> = (0..20).map(|_| vec![0.01 * slower; 4]).collect();
        let result = serde_json::json!({
            "duration": 2.0, "total_output_tokens": 100, "input_lens": vec![8; 20],
            "output_lens": vec![5; 20], "ttfts": vec![0.1; 20], "itls": gaps, "errors": vec![""; 20],
        });
        let path = folder.path().join(name);
        fs::write(&path, result.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (a, b, c) = (result("a", 1.0), result("b", 1.02), result("c", 1.3));
    let (code, text, error) = run(&["bench", "compare", &a, &b]).unwrap();
    assert_eq!(code, Some(0), "{text}{error}");
    assert!(text.contains("no regression") && !text.contains("REGRESSION"), "{text}");
    let (code, text, error) = run(&["bench", "compare", &a, &b, &c]).unwrap();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("mean TPOT (ms)") && text.contains("REGRESSION"), "{text}");
    assert!(error.contains("worse by more than 5.0 %"), "{error}");
    let (code, ..) = run(&["bench", "compare", &a, &c, "--threshold", "0.5"]).unwrap();
    assert_eq!(code, Some(0));
}
