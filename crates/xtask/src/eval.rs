//! `cargo xtask eval robot`: what the bundled models can do, and whether a format costs them anything.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use eitri_tests::{
    Server,
    robot::{self, Case, Verdict},
};
use serde_json::json;

use crate::workspace;

/// The model as it lies in its directory.
const STORED: &str = "stored";

/// What is to be compared: every combination.
struct Options {
    models: Vec<String>,
    weights: Vec<String>,
    kv: Vec<String>,
    activations: Vec<String>,
    show: usize,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut options = Self {
            models: list("robot,robot-moe"),
            weights: list(STORED),
            kv: list("auto"),
            activations: list("int8"),
            show: 0,
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { bail!("{} needs a value", pair[0]) };
            match *name {
                "--models" => options.models = list(value),
                "--weights" => options.weights = list(value),
                "--kv" => options.kv = list(value),
                "--activations" => options.activations = list(value),
                "--show" => options.show = value.parse().context("--show needs a number")?,
                other => bail!("unknown option {other}"),
            }
        }
        Ok(options)
    }
}

/// One line of the summary.
struct Row {
    label: String,
    held_out: f64,
    hand_written: f64,
    bytes: u64,
    resident: u64,
    rates: Rates,
}

/// Tokens per second of one client.
struct Rates {
    prefill: f64,
    decode: f64,
}

/// Judges all combinations and prints accuracy by category and a table of all.
pub(crate) fn robot(arguments: &[&str]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "eitri"])
        .current_dir(workspace::root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo build failed");
    let binary = workspace::root().join("target/release/eitri");
    let sets = [("held out", robot::held_out()?), ("hand-written", robot::hand_written()?)];
    let mut rows = Vec::new();
    for model in &options.models {
        for weights in &options.weights {
            let path = stored_as(&binary, model, weights)?;
            for kv in &options.kv {
                for activations in &options.activations {
                    let label = format!("{model:<10} {weights:<11} {kv:<8} {activations:<6}");
                    println!("\n{label}");
                    let flags = ["--kv-cache-dtype", kv, "--activations", activations];
                    let server = Server::start_binary(&binary, &path, &flags)?;
                    rows.push(evaluate(label, &server, &sets, size(&path)?, options.show)?);
                }
            }
        }
    }
    println!(
        "\nmodel      weights     kv       acts    held out  hand-written    file MB   RSS MB   prefill/s  decode/s"
    );
    for row in rows {
        let Row { label, held_out, hand_written, bytes, resident, rates } = row;
        let [bytes, resident] = [bytes, resident].map(|bytes| bytes as f64 / 1e6);
        let Rates { prefill, decode } = rates;
        println!(
            "{label}  {held_out:6.2} %      {hand_written:6.2} %   {bytes:8.1} {resident:8.0}   {prefill:9.0} {decode:9.0}"
        );
    }
    Ok(())
}

fn evaluate(
    label: String,
    server: &Server,
    sets: &[(&str, Vec<Case>); 2],
    bytes: u64,
    show: usize,
) -> Result<Row> {
    let mut shares = [0.0; 2];
    for ((name, cases), share) in sets.iter().zip(&mut shares) {
        let verdicts = robot::judge(server, cases)?;
        *share = report(name, cases, &verdicts);
        for verdict in verdicts.iter().filter(|verdict| !verdict.right).take(show) {
            let case = &cases[verdict.case];
            let asked = case.request["messages"].as_array().and_then(|messages| messages.last());
            println!(
                "    asked    {}",
                asked.map(|m| m["content"].to_string()).unwrap_or_default()
            );
            println!("    expected {}", case.expected);
            let got = match verdict.message.get("tool_calls").and_then(|calls| calls.as_array()) {
                Some(calls) => {
                    calls.iter().map(|call| call["function"].to_string()).collect::<String>()
                }
                None => verdict.message["content"].to_string(),
            };
            println!("    got      {got}");
        }
    }
    let resident = server.resident_bytes()?;
    let [held_out, hand_written] = shares;
    let rates = rates(server)?;
    Ok(Row { label, held_out, hand_written, bytes, resident, rates })
}

/// Rates of one client, by the fastest of some requests: prompts that share nothing with others, and
/// an answer after a short one.
fn rates(server: &Server) -> Result<Rates> {
    const PROMPT: usize = 1024;
    const ANSWER: usize = 256;
    const ROUNDS: usize = 5;
    let seconds = |length: usize, first: usize, answer: usize| -> Result<f64> {
        let prompt: Vec<usize> = (0..length).map(|i| (first + i * i) % 2000).collect();
        let body =
            json!({"prompt": prompt, "max_tokens": answer, "ignore_eos": true, "temperature": 0});
        let start = Instant::now();
        let (status, answer) = server.post("/v1/completions", &body)?;
        ensure!(status == 200, "status {status}: {answer}");
        Ok(start.elapsed().as_secs_f64())
    };
    let (mut prompt, mut one, mut many) = (f64::MAX, f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        prompt = prompt.min(seconds(PROMPT, 10 * round + 1, 1)?);
        one = one.min(seconds(8, 10 * round + 2, 1)?);
        many = many.min(seconds(8, 10 * round + 3, ANSWER + 1)?);
    }
    Ok(Rates { prefill: PROMPT as f64 / prompt, decode: ANSWER as f64 / (many - one) })
}

/// Prints right answers by category and returns their share in percent.
fn report(name: &str, cases: &[Case], verdicts: &[Verdict]) -> f64 {
    println!("  {name}");
    let mut total = (0, 0);
    for (category, (right, all)) in robot::by_category(cases, verdicts) {
        println!("    {category:12} {right:4} of {all:4}  {:6.1} %", percent(right, all));
        total = (total.0 + right, total.1 + all);
    }
    println!(
        "    {:12} {:4} of {:4}  {:6.2} %",
        "all",
        total.0,
        total.1,
        percent(total.0, total.1)
    );
    percent(total.0, total.1)
}

fn percent(right: usize, all: usize) -> f64 {
    100.0 * right as f64 / all.max(1) as f64
}

/// The model with its weights in a format, converted where it is not there yet.
fn stored_as(binary: &Path, model: &str, weights: &str) -> Result<PathBuf> {
    let directory = workspace::root().join("models").join(model);
    ensure!(directory.is_dir(), "{} is missing", directory.display());
    if weights == STORED {
        return Ok(directory);
    }
    let is_gguf = matches!(weights, "f32" | "f16" | "bf16") || weights.starts_with('q');
    let end = if is_gguf { ".gguf" } else { "" };
    let path = workspace::root().join(format!("local/eval/{model}-{weights}{end}"));
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let status = Command::new(binary)
        .arg("quantize")
        .arg(&directory)
        .args(["--to", weights, "--force", "--out"])
        .arg(&path)
        .status()?;
    ensure!(status.success(), "eitri quantize --to {weights} failed");
    Ok(path)
}

/// Bytes of a file, or of the safetensors files of a directory.
fn size(path: &Path) -> Result<u64> {
    if path.is_file() {
        return Ok(path.metadata()?.len());
    }
    let mut bytes = 0;
    for entry in path.read_dir()? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "safetensors") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
