//! Prompts and arrivals are those of vLLM's own client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod vllm;

use eitri_bench::{Compat, cli::Prepared, dataset::digest};
use serde_json::Value;

const ROBOT: &str = include_str!("golden/prompts.json");
const PUBLISHED: &str = include_str!("golden/published.json");

fn cases(golden: &str) -> Vec<Value> {
    serde_json::from_str(golden).unwrap()
}

fn check(prepared: &Prepared, expected: &Value, what: &str) {
    let of = |key: &str| expected[key].as_array();
    let lens = |key: &str| -> Option<Vec<u64>> {
        Some(of(key)?.iter().map(|len| len.as_u64().unwrap()).collect())
    };
    let prompt_lens: Vec<u64> =
        prepared.samples.iter().map(|sample| sample.prompt_tokens as u64).collect();
    let output_lens: Vec<u64> =
        prepared.samples.iter().map(|sample| sample.output_tokens as u64).collect();
    if let Some(expected) = lens("prompt_lens") {
        assert_eq!(prompt_lens, expected, "{what}: lengths of prompts");
    }
    if let Some(expected) = lens("output_lens") {
        assert_eq!(output_lens, expected, "{what}: lengths of answers");
    }
    assert_eq!(prompt_lens.iter().sum::<u64>(), expected["total_input_tokens"], "{what}");
    assert_eq!(output_lens.iter().sum::<u64>(), expected["total_output_tokens"], "{what}");
    assert_eq!(digest(&prepared.samples), expected["sha256"], "{what}: SHA-256 of the prompts");
    if let Some(times) = of("arrivals") {
        for (arrival, time) in prepared.arrivals.iter().zip(times) {
            let time = time.as_f64().unwrap();
            let close = (arrival.time - time).abs() <= 1e-12 * time;
            assert!(close, "{what}: sent after {} instead of {time}", arrival.time);
        }
        assert_eq!(prepared.arrivals.len(), times.len(), "{what}");
    }
}

#[test]
fn every_data_set_is_made_as_vllm_makes_it() {
    for case in cases(ROBOT) {
        let (compat, flags) = (case["compat"].as_str().unwrap(), case["flags"].as_str().unwrap());
        let plan = vllm::plan(compat, flags, &vllm::workspace().join("models/robot"));
        check(&plan.prepare().unwrap(), &case, &format!("{compat} {flags}"));
    }
}

/// The totals of the published tables, with Qwen3's vocabulary.
#[test]
fn published_settings_give_the_published_totals() {
    let Some(tokenizer) = vllm::qwen3_tokenizer() else { return };
    let mut totals = Vec::new();
    for case in cases(PUBLISHED) {
        let (compat, flags) = (case["compat"].as_str().unwrap(), case["flags"].as_str().unwrap());
        let prepared = vllm::plan(compat, flags, &tokenizer).prepare().unwrap();
        check(&prepared, &case, &format!("{compat} {flags}"));
        if compat == Compat::V0_10.name() {
            let lens = prepared.samples.iter().map(|sample| sample.prompt_tokens);
            totals.push(lens.sum::<usize>());
        }
    }
    assert_eq!(totals, [204_169, 20_431, 408_281, 2048]);
}

/// The genuine client beside ours, on settings that no golden has.
#[test]
fn prompts_equal_those_of_the_client_that_runs_beside() {
    let Some(tokenizer) = vllm::qwen3_tokenizer() else { return };
    let flags = "--dataset-name random --random-input-len 700 --random-output-len 40 \
                 --num-prompts 20 --random-range-ratio 0.3 --random-prefix-len 50 --seed 20261124";
    for (compat, version) in vllm::VERSIONS {
        let directory = tokenizer.to_str().unwrap();
        let mut line = vec!["prompts", version, "--model", "m", "--tokenizer", directory];
        line.extend(flags.split_whitespace());
        let Some(printed) = vllm::client(&line) else { return };
        let prepared = vllm::plan(compat, flags, &tokenizer).prepare().unwrap();
        check(&prepared, &serde_json::from_str(&printed).unwrap(), &format!("{compat} {flags}"));
    }
}
