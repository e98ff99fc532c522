//! `eitri serve` as a child process.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, anyhow};

/// What the server prints once it takes requests, before and after its address.
const READY: (&str, &str) = ("ready on ", " after ");

/// A server on a free port of the loopback interface, until it is dropped.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    /// `http://ADDRESS`.
    pub(super) base_url: String,
    /// How it was started, without the place of the program.
    pub(super) command: Vec<String>,
}

impl ServerProcess {
    /// Starts a server and waits until its model is loaded. What it prints goes to `log`.
    pub(super) fn start(model: &Path, name: &str, flags: &[String], log: &Path) -> Result<Self> {
        let mut arguments = vec!["serve".to_owned(), model.display().to_string()];
        arguments.extend(["--served-model-name", name, "--host", "127.0.0.1"].map(str::to_owned));
        arguments.extend(["--port", "0"].map(str::to_owned));
        arguments.extend_from_slice(flags);
        // Before the process: nothing that fails later may leave it running.
        let mut file = File::create(log).with_context(|| log.display().to_string())?;
        let mut child = Command::new(env::current_exe()?)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("eitri serve cannot be started")?;
        let lines = child.stderr.take().map(BufReader::new);
        let (ready, is_ready) = mpsc::channel();
        // Reads on after the server is ready: a full pipe would stop it.
        thread::spawn(move || {
            for line in lines.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                // A log that cannot be written does not keep the server from being measured.
                let _ = writeln!(file, "{line}");
                let address = line.strip_prefix(READY.0).and_then(|rest| rest.split_once(READY.1));
                if let Some((address, _)) = address {
                    let _ = ready.send(address.to_owned());
                }
            }
        });
        // The channel closes when the server ends, so this wait has an end.
        let Ok(base_url) = is_ready.recv() else {
            let status = child.wait()?;
            let why = last_line(log).unwrap_or_default();
            return Err(anyhow!("eitri serve ended with {status}: {why}"));
        };
        let command = std::iter::once("eitri".to_owned()).chain(arguments).collect();
        Ok(Self { child, base_url, command })
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It fails only where the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_line(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().rev().find(|line| line.starts_with("error:"));
    line.or_else(|| text.lines().last()).map(str::to_owned)
}
