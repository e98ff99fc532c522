//! The robot models against candle-transformers, f32: every token of recorded answers is the one
//! that it would choose.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{DType, Device, Tensor, safetensors};
use eitri_kernels::Activations;
use serde_json::Value;

use crate::support::{
    harness::{Harness, argmax},
    oracle,
};

/// Logits that stored bf16 weights allow two f32 implementations to differ by.
const TOLERANCE: f32 = 1e-3;

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn every_recorded_token_is_what_candle_would_choose() {
    check("robot", "robot.json");
}

#[test]
fn and_of_the_mixture_of_experts() {
    check("robot-moe", "robot_moe.json");
}

fn check(model: &str, goldens: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = root.join("models").join(model);
    let config = json(&directory.join("config.json"));
    let stored = safetensors::load(directory.join("model.safetensors"), &Device::Cpu).unwrap();
    let widen = |(name, tensor): (String, Tensor)| (name, tensor.to_dtype(DType::F32).unwrap());
    let tensors: HashMap<String, Tensor> = stored.into_iter().map(widen).collect();
    let mut harness = Harness::open(&directory, Activations::Exact, 2).unwrap();
    let goldens = json(&root.join("tests/golden").join(goldens));
    let goldens = goldens.as_array().unwrap();
    assert_eq!(goldens.len(), 30);
    for golden in goldens {
        let (prompt, tokens) = (ids(&golden["prompt"]), ids(&golden["tokens"]));
        assert!(tokens.len() > 2, "{}", golden["id"]);
        let whole = [&prompt[..], &tokens[..]].concat();
        let want = oracle::logits_of(&config, tensors.clone(), &whole);
        let got = harness.prompt(&whole);
        for (i, &token) in tokens.iter().enumerate() {
            let at = prompt.len() - 1 + i;
            assert_eq!(argmax(&want[at]) as u32, token, "{}, token {i}", golden["id"]);
            let off = got[at].iter().zip(&want[at]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < TOLERANCE, "{}, token {i}: logits off by {off}", golden["id"]);
        }
    }
}
