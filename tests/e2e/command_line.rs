//! What a person sees who gets a command wrong.

use eitri_tests::{run, smollm2};

#[test]
fn a_missing_model_is_named() {
    let (code, _, error) = run(&["serve", "no/such/model", "--port", "0"]).unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no/such/model"), "{error}");
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let (code, _, error) = run(&["serve", "--no-such-flag"]).unwrap();
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--no-such-flag"), "{error}");
}

#[test]
fn a_model_over_budget_is_refused_with_the_numbers() {
    let model = smollm2().unwrap();
    let model = model.to_str().unwrap();
    let arguments = ["serve", model, "--port", "0", "--memory-budget", "50M"];
    let (code, _, error) = run(&arguments).unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("--memory-budget"), "{error}");
}

#[test]
fn inspect_prints_formats_and_bytes() {
    let model = smollm2().unwrap();
    let (code, text, error) = run(&["inspect", model.to_str().unwrap()]).unwrap();
    assert_eq!(code, Some(0), "{error}");
    for expected in ["llama", "576", "30", "u4+min"] {
        assert!(text.to_lowercase().contains(&expected.to_lowercase()), "{expected}: {text}");
    }
}

#[test]
fn one_shot_chat_answers_on_standard_output() {
    let model = smollm2().unwrap();
    let question = ["--prompt", "Name three colours.", "--max-tokens", "20", "--temperature", "0"];
    let arguments = [&["chat", model.to_str().unwrap()], &question[..]].concat();
    let (code, text, error) = run(&arguments).unwrap();
    assert_eq!(code, Some(0), "{error}");
    // Red is what llama.cpp's answer in the golden file names first, too.
    assert!(text.to_lowercase().contains("red"), "{text}");
}
