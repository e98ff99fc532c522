//! Servers and loads of `bench reproduce` and `bench here` on this machine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use eitri_bench::{
    outcome::BenchOutcome,
    report::EnergyMeter,
    reproduce::{Description, LoadPlan, Measurement, Rig, RowPlan},
};
use tokio::runtime::Runtime;

use super::{
    beside::{OtherProcess, OtherServer},
    load::{self, flags},
    server_process::ServerProcess,
    tiny::TinyCheckpoints,
};

/// Starts `eitri serve` and sends it what `bench serve` would.
pub(super) struct LocalRig {
    pub(super) runtime: Runtime,
    pub(super) checkpoints: Checkpoints,
    pub(super) prompts: Prompts,
    /// Further flags of every server.
    pub(super) serve_flags: Vec<String>,
    /// Where servers' logs go.
    pub(super) logs: PathBuf,
    /// What is measured beside it.
    pub(super) other: Option<OtherServer>,
    /// Counts loads: the two servers come first in turns.
    pub(super) turn: usize,
}

/// How long answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompts {
    /// Until the model ends them, as in the published runs.
    AsPublished,
    /// As long as asked for: random prompts make some models end at any time.
    ToTheEnd,
}

/// Where checkpoints come from.
pub(super) enum Checkpoints {
    /// A directory with one entry per checkpoint.
    Directory(PathBuf),
    /// Made for the purpose.
    Tiny(TinyCheckpoints),
    /// Named one by one.
    Given(BTreeMap<String, PathBuf>),
}

/// A server with a checkpoint.
pub(super) struct Serving {
    process: ServerProcess,
    model: String,
    tokenizer: PathBuf,
    stand_in: Option<String>,
    other: Option<OtherProcess>,
}

impl Checkpoints {
    /// The checkpoint, the place of its tokenizer and, where it is another one, what it is.
    fn find(&self, model: &str) -> Result<(PathBuf, PathBuf, Option<String>)> {
        match self {
            Self::Tiny(tiny) => {
                let (path, what) = tiny.make(model)?;
                Ok((path, tiny.tokenizer()?, Some(what)))
            }
            Self::Directory(directory) => {
                let path = find(directory, model)?;
                Ok((path.clone(), path, None))
            }
            Self::Given(models) => {
                let path = models.get(model).context("no such model was given")?;
                Ok((path.clone(), path.clone(), None))
            }
        }
    }
}

/// `MODEL`, a directory, or `MODEL.gguf`, or the one GGUF file in a directory `MODEL`.
fn find(directory: &Path, model: &str) -> Result<PathBuf> {
    let path = directory.join(model);
    let file = directory.join(format!("{model}.gguf"));
    if file.is_file() {
        return Ok(file);
    }
    ensure!(
        path.is_dir(),
        "{} has no directory {model} and no file {model}.gguf",
        directory.display()
    );
    if path.join("config.json").is_file() {
        return Ok(path);
    }
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "gguf");
    let entries = path.read_dir().with_context(|| path.display().to_string())?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_gguf).collect();
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        _ => bail!("{} has neither config.json nor exactly one .gguf file", path.display()),
    }
}

impl Rig for LocalRig {
    type Server = Serving;
    type Error = anyhow::Error;

    fn start(&mut self, row: &RowPlan) -> Result<Serving> {
        let (path, tokenizer, stand_in) = self.checkpoints.find(&row.model)?;
        let log = self.logs.join(format!("{}.log", row.model));
        let process = ServerProcess::start(&path, &row.model, &self.serve_flags, &log)?;
        let log = self.logs.join(format!("{}.beside.log", row.model));
        let start = |other: &OtherServer| other.start(&self.runtime, &path, &log);
        let other = self.other.as_ref().map(start).transpose()?;
        Ok(Serving { process, model: row.model.clone(), tokenizer, stand_in, other })
    }

    fn measure(&mut self, server: &mut Serving, plan: &LoadPlan) -> Result<Measurement> {
        let mut line = flags([
            ("tokenizer", server.tokenizer.display().to_string()),
            ("random-input-len", plan.input_len.to_string()),
            ("random-output-len", plan.output_len.to_string()),
            ("num-prompts", plan.num_prompts.to_string()),
            ("seed", plan.seed.to_string()),
        ]);
        if let Some(limit) = plan.max_concurrency {
            line.extend(flags([("max-concurrency", limit.to_string())]));
        }
        if !plan.ready_check {
            line.extend(flags([("ready-check-timeout-sec", "0".to_owned())]));
        }
        if self.prompts == Prompts::ToTheEnd {
            line.push("--ignore-eos".to_owned());
        }
        let process = &server.process;
        let mut turns = vec![(true, &process.base_url, &server.model)];
        turns.extend(server.other.as_ref().map(|other| (false, &other.base_url, &other.model)));
        let first = self.turn % turns.len();
        turns.rotate_left(first);
        self.turn += 1;
        let (mut ours, mut reference) = (None, None);
        for (is_ours, base_url, model) in turns {
            let to = flags([("base-url", base_url.clone()), ("model", model.clone())]);
            let line: Vec<String> = to.into_iter().chain(line.iter().cloned()).collect();
            let meter = EnergyMeter::start();
            let outcome = send(&self.runtime, &line)?;
            if is_ours {
                ours = Some((outcome, meter.and_then(EnergyMeter::joules)));
            } else {
                reference = Some(outcome);
            }
        }
        let (outcome, joules) = ours.context("our server had no turn")?;
        Ok(Measurement { outcome, joules, reference })
    }

    fn describe(&self, server: &Serving) -> Description {
        Description {
            command: server.process.command.clone(),
            stand_in: server.stand_in.clone(),
            reference_command: server.other.as_ref().map(|other| other.command.clone()),
        }
    }
}

/// Sends a load of which at least one request has to be answered.
fn send(runtime: &Runtime, line: &[String]) -> Result<BenchOutcome> {
    let outcome = load::send(runtime, line)?;
    ensure!(!outcome.interrupted, "interrupted; what was measured before is kept");
    ensure!(
        outcome.metrics.completed > 0,
        "no request was answered: {}",
        outcome
            .requests
            .iter()
            .find_map(|r| Some(r.failure.as_ref()?.message.as_str()))
            .unwrap_or("none was sent")
    );
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn checkpoints_are_found_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let touch = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        touch("A/config.json");
        touch("B.gguf");
        touch("C/some-q5_k_m.gguf");
        touch("D/one.gguf");
        touch("D/two.gguf");
        assert_eq!(find(root, "A").unwrap(), root.join("A"));
        assert_eq!(find(root, "B").unwrap(), root.join("B.gguf"));
        assert_eq!(find(root, "C").unwrap(), root.join("C/some-q5_k_m.gguf"));
        assert!(find(root, "D").unwrap_err().to_string().contains("exactly one"));
        assert!(find(root, "E").unwrap_err().to_string().contains("has no directory E"));
    }
}
