//! Servers and loads of `bench reproduce` on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use eitri_bench::{
    report::EnergyMeter,
    reproduce::{LoadPlan, Measurement, Rig, RowPlan, Scale},
};
use tokio::runtime::Runtime;

use super::{
    load::{self, flags},
    server_process::ServerProcess,
    tiny::TinyCheckpoints,
};

/// Starts `eitri serve` and sends it what `bench serve` would.
pub(super) struct LocalRig {
    pub(super) runtime: Runtime,
    pub(super) checkpoints: Checkpoints,
    pub(super) scale: Scale,
    /// Further flags of every server.
    pub(super) serve_flags: Vec<String>,
    /// Where servers' logs go.
    pub(super) logs: PathBuf,
}

/// Where checkpoints come from.
pub(super) enum Checkpoints {
    /// A directory with one entry per checkpoint.
    Directory(PathBuf),
    /// Made for the purpose.
    Tiny(TinyCheckpoints),
}

/// A server with a checkpoint.
pub(super) struct Serving {
    process: ServerProcess,
    model: String,
    tokenizer: PathBuf,
    stand_in: Option<String>,
}

impl Checkpoints {
    /// The checkpoint, the directory of its tokenizer and, where it is another one, what it is.
    fn find(&self, model: &str) -> Result<(PathBuf, PathBuf, Option<String>)> {
        match self {
            Self::Tiny(tiny) => {
                let (path, what) = tiny.make(model)?;
                Ok((path, tiny.tokenizer()?, Some(what)))
            }
            Self::Directory(directory) => {
                let path = find(directory, model)?;
                let tokenizer = if path.is_dir() { path.clone() } else { beside(&path)? };
                Ok((path, tokenizer, None))
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

/// The client needs a `tokenizer.json`: a GGUF file has its tokenizer in another form.
fn beside(file: &Path) -> Result<PathBuf> {
    let directory = file.parent().unwrap_or(Path::new("."));
    ensure!(
        directory.join("tokenizer.json").is_file(),
        "the prompts are made with tokenizer.json, which is not beside {}",
        file.display()
    );
    Ok(directory.to_owned())
}

impl Rig for LocalRig {
    type Server = Serving;
    type Error = anyhow::Error;

    fn start(&mut self, row: &RowPlan) -> Result<Serving> {
        let (path, tokenizer, stand_in) = self.checkpoints.find(&row.model)?;
        let log = self.logs.join(format!("{}.log", row.model));
        let process = ServerProcess::start(&path, &row.model, &self.serve_flags, &log)?;
        Ok(Serving { process, model: row.model.clone(), tokenizer, stand_in })
    }

    fn measure(&mut self, server: &mut Serving, plan: &LoadPlan) -> Result<Measurement> {
        let mut line = flags([
            ("base-url", server.process.base_url.clone()),
            ("model", server.model.clone()),
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
        if self.scale == Scale::Tiny {
            // Random models end at any time.
            line.push("--ignore-eos".to_owned());
        }
        let meter = EnergyMeter::start();
        let outcome = load::send(&self.runtime, &line)?;
        let joules = meter.and_then(EnergyMeter::joules);
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
        Ok(Measurement { outcome, joules })
    }

    fn describe(&self, server: &Serving) -> (Vec<String>, Option<String>) {
        (server.process.command.clone(), server.stand_in.clone())
    }
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
        let error = beside(&root.join("B.gguf")).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}
