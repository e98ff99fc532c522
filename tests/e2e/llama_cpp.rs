//! Greedy answers of SmolLM2 against those that llama.cpp gave for the same file.
//!
//! `golden/smollm2_llama_cpp.json` was recorded by `golden/make_llama_cpp.py`. Both programs round
//! activations to 8 bits per group, in different order, so a choice between two nearly equal logits
//! may differ; from there on the texts are different texts. Such a place is accepted only where
//! llama.cpp itself saw the two tokens closer than [`NEAR_TIE`].

use std::fs;

use eitri_tests::{Server, smollm2, workspace};
use serde_json::{Value, json};

/// Largest difference of log-probability that quantised arithmetic may turn around.
const NEAR_TIE: f64 = 0.25;

fn ids(value: &Value) -> Vec<u64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

/// Position of the first difference, with llama.cpp's margin between its choice and ours there.
fn first_difference(ours: &[u64], case: &Value) -> Option<(usize, Option<f64>)> {
    let theirs = ids(&case["tokens"]);
    let at = ours.iter().zip(&theirs).position(|(a, b)| a != b)?;
    let top = case["top"][at].as_array()?;
    let logprob = |id: u64| {
        top.iter().find(|entry| entry[0].as_u64() == Some(id)).and_then(|entry| entry[1].as_f64())
    };
    let margin = logprob(theirs[at]).zip(logprob(ours[at])).map(|(a, b)| a - b);
    Some((at, margin))
}

#[test]
fn greedy_tokens_equal_those_of_llama_cpp_but_for_near_ties() {
    let text = fs::read_to_string(workspace().join("tests/golden/smollm2_llama_cpp.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 40);
    let server = Server::start(&smollm2().unwrap(), &["--served-model-name", "m"]).unwrap();
    let (mut equal, mut ties) = (0, Vec::new());
    for case in &cases {
        let body = json!({
            "model": "m", "prompt": case["ids"], "max_tokens": 64, "temperature": 0,
            "return_token_ids": true, "skip_special_tokens": false,
        });
        let (status, answer) = server.post("/v1/completions", &body).unwrap();
        assert_eq!(status, 200, "{answer}");
        let ours = ids(&answer["choices"][0]["token_ids"]);
        assert!(!ours.is_empty(), "{answer}");
        match first_difference(&ours, case) {
            None => equal += 1,
            Some((at, margin)) => {
                let margin = margin.unwrap_or(f64::INFINITY);
                assert!(
                    margin < NEAR_TIE,
                    "{:?}: token {at} differs, llama.cpp's margin there is {margin}",
                    case["text"]
                );
                ties.push((case["text"].clone(), at, margin));
            }
        }
    }
    println!("{equal} of {} equal to the last token; near ties: {ties:#?}", cases.len());
    assert!(equal * 2 >= cases.len(), "only {equal} of {} are equal", cases.len());
}

#[test]
fn the_chat_route_sees_the_prompt_that_llama_cpp_saw() {
    let text = fs::read_to_string(workspace().join("tests/golden/smollm2_llama_cpp.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let server = Server::start(&smollm2().unwrap(), &["--served-model-name", "m"]).unwrap();
    for case in &cases {
        let body = if case["kind"] == "chat" {
            json!({"model": "m", "messages": [{"role": "user", "content": case["text"]}]})
        } else {
            json!({"model": "m", "prompt": case["text"], "add_special_tokens": false})
        };
        let (status, answer) = server.post("/tokenize", &body).unwrap();
        assert_eq!(status, 200, "{answer}");
        assert_eq!(ids(&answer["tokens"]), ids(&case["ids"]), "{:?}", case["text"]);
    }
}
