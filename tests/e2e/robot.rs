//! The robot models: what a user meets first.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use eitri_tests::{Server, robot, run, workspace};
use serde_json::{Value, json};

fn start(model: &str, arguments: &[&str]) -> Result<Server> {
    Server::start(Path::new(model), arguments)
}

#[test]
fn the_tool_loop_of_openai_python() {
    let python = workspace().join("local/python/bin/python");
    assert!(python.is_file(), "the SDK is missing: install it with `cargo xtask python`");
    let server = start("robot", &[]).unwrap();
    let output = Command::new(python)
        .arg(workspace().join("tests/python/robot_check.py"))
        .arg(&server.base)
        .arg(workspace().join("models/robot-tools.json"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("ok  many"), "{text}");
}

/// Tokens of fixed conversations; candle-transformers checks the same files in eitri-models.
#[test]
fn answers_are_the_recorded_ones() {
    check_goldens("robot", "robot.json").unwrap();
}

#[test]
fn answers_of_the_mixture_of_experts_are_the_recorded_ones() {
    check_goldens("robot-moe", "robot_moe.json").unwrap();
}

fn check_goldens(model: &str, file: &str) -> Result<()> {
    let path = workspace().join("tests/golden").join(file);
    let goldens: Vec<Value> = serde_json::from_str(&fs::read_to_string(path)?)?;
    assert_eq!(goldens.len(), 30);
    let exact = ["--activations", "exact", "--kv-cache-dtype", "float32"];
    let server = start(model, &exact)?;
    let tools = robot::tools()?;
    for golden in &goldens {
        let mut body = golden["request"].clone();
        body["tools"] = json!(tools);
        body["return_token_ids"] = json!(true);
        let (status, answer) = server.post("/v1/chat/completions", &body)?;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["prompt_token_ids"], golden["prompt"], "{}", golden["id"]);
        assert_eq!(answer["choices"][0]["token_ids"], golden["tokens"], "{}", golden["id"]);
    }
    Ok(())
}

/// Shares of right answers below which something is broken; `models/README.md` has the exact ones.
const HELD_OUT: f64 = 0.94;
const HAND_WRITTEN: f64 = 0.7;

/// A part of `cargo xtask eval robot`, so that a change which costs meaning fails at once.
#[test]
fn commands_are_understood() {
    check_commands("robot", 4).unwrap();
}

#[test]
fn commands_are_understood_by_the_mixture_of_experts() {
    check_commands("robot-moe", 8).unwrap();
}

/// One command in `every` of the held-out ones, and all that were written by hand.
fn check_commands(model: &str, every: usize) -> Result<()> {
    let server = start(model, &[])?;
    let held_out: Vec<_> = robot::held_out()?.into_iter().step_by(every).collect();
    for (cases, least) in [(held_out, HELD_OUT), (robot::hand_written()?, HAND_WRITTEN)] {
        let verdicts = robot::judge(&server, &cases)?;
        let right = verdicts.iter().filter(|verdict| verdict.right).count();
        assert!(right as f64 >= least * cases.len() as f64, "{right} of {}", cases.len());
    }
    Ok(())
}

/// Half of the memory for keys and values, and next to none of the meaning.
#[test]
fn commands_are_understood_with_an_fp8_kv_cache() {
    let server = start("robot", &["--kv-cache-dtype", "fp8"]).unwrap();
    let cases: Vec<_> = robot::held_out().unwrap().into_iter().step_by(8).collect();
    let verdicts = robot::judge(&server, &cases).unwrap();
    let right = verdicts.iter().filter(|verdict| verdict.right).count();
    assert!(right as f64 >= HELD_OUT * cases.len() as f64, "{right} of {}", cases.len());
}

#[test]
fn inspect_shows_the_fp8_kv_cache() {
    let inspect = |dtype: &str| {
        let arguments = ["inspect", "robot", "--json", "--kv-cache-dtype", dtype];
        let (code, text, error) = run(&arguments).unwrap();
        assert_eq!(code, Some(0), "{error}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let (wide, narrow) = (inspect("bfloat16"), inspect("fp8_e4m3"));
    let halved = |pointer: &str| {
        let [wide, narrow] =
            [&wide, &narrow].map(|json| json.pointer(pointer).unwrap().as_u64().unwrap());
        assert_eq!(wide, 2 * narrow, "{pointer}");
    };
    halved("/bytes_per_token/kv_per_context_token");
    halved("/memory_plan/kv_cache");
    assert_eq!(narrow["memory_plan"]["kv_dtype"], "fp8");
    let kernels = narrow["kernels"].as_array().unwrap();
    let attention: Vec<&str> = kernels
        .iter()
        .filter_map(|probe| probe["kernel"].as_str())
        .filter(|kernel| kernel.starts_with("attention-"))
        .collect();
    assert!(attention.len() == 1 && attention[0].ends_with("-fp8"), "{attention:?}");
    let (code, _, error) = run(&["chat", "robot", "--kv-cache-dtype", "fp8_e5m2"]).unwrap();
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("fp8_e5m2") && error.contains("auto, bfloat16, fp8, float32"),
        "{error}"
    );
}

#[test]
fn chat_shows_the_calls() {
    let arguments = ["chat", "--prompt", "Turn left by 90 degrees.", "--no-thinking"];
    let (code, text, error) = run(&arguments).unwrap();
    assert_eq!((code, text.trim()), (Some(0), "turn(degrees: 90)"), "{error}");
}
