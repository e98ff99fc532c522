//! A server of somebody else, started by a command of the user's.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use eitri_bench::{ServerAddress, first_model};
use tokio::runtime::Runtime;

/// How long it may load.
const READY_WITHIN: Duration = Duration::from_mins(15);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(200);

const MODEL: &str = "{model}";
const PORT: &str = "{port}";

/// How to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OtherServer {
    /// What it is called.
    pub(super) name: String,
    /// The words of the command.
    words: Vec<String>,
}

/// One that runs until it is dropped.
#[derive(Debug)]
pub(super) struct OtherProcess {
    child: Child,
    /// `http://ADDRESS`.
    pub(super) base_url: String,
    /// Its name for the model.
    pub(super) model: String,
    /// How it was started, without directories and port.
    pub(super) command: Vec<String>,
}

impl OtherServer {
    /// Reads a command in which `{model}` and `{port}` stand for what is known only later.
    pub(super) fn parse(command: &str, name: Option<&str>) -> Result<Self> {
        let Some(words) = shlex::split(command) else {
            bail!("--beside {command:?} has a quote that does not end")
        };
        for place in [MODEL, PORT] {
            ensure!(
                words.iter().any(|word| word.contains(place)),
                "--beside {command:?} does not say where {place} goes"
            );
        }
        let program = words.first().map(String::as_str).unwrap_or_default();
        let name = name.map_or_else(|| file_name(program), str::to_owned);
        Ok(Self { name, words })
    }

    /// Starts it and waits until it lists a model. What it prints goes to `log`.
    pub(super) fn start(
        &self,
        runtime: &Runtime,
        model: &Path,
        log: &Path,
    ) -> Result<OtherProcess> {
        // Free now; whoever takes it meanwhile makes the server fail to start.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let words = self.words_for(&model.display().to_string(), &port.to_string());
        let Some((program, arguments)) = words.split_first() else { bail!("--beside is empty") };
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{program} cannot be started"))?;
        let mut shown = self.words_for(&file_name(&model.display().to_string()), "PORT");
        shown[0] = file_name(&shown[0]);
        let mut process = OtherProcess {
            child,
            base_url: format!("http://127.0.0.1:{port}"),
            model: String::new(),
            command: shown,
        };
        process.model = runtime.block_on(process.wait(&self.name, log))?;
        Ok(process)
    }

    fn words_for(&self, model: &str, port: &str) -> Vec<String> {
        self.words.iter().map(|word| word.replace(MODEL, model).replace(PORT, port)).collect()
    }
}

impl OtherProcess {
    /// Its first model, once it has one.
    async fn wait(&mut self, name: &str, log: &Path) -> Result<String> {
        let address = ServerAddress { base_url: self.base_url.clone(), ..ServerAddress::default() };
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended with {status}: see {}", log.display());
            }
            match first_model(&address, None).await {
                Ok(model) => return Ok(model.id),
                Err(error) if started.elapsed() > READY_WITHIN => {
                    return Err(error).with_context(|| {
                        format!(
                            "{name} was not ready within {READY_WITHIN:?}: see {}",
                            log.display()
                        )
                    });
                }
                Err(_) => tokio::time::sleep(ASK_EVERY).await,
            }
        }
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        // It fails only where the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_where_model_and_port_go() {
        let command = "/opt/bin/llama-server -m '{model}' --port {port} --alias 'a b'";
        let other = OtherServer::parse(command, None).unwrap();
        assert_eq!(other.name, "llama-server");
        assert_eq!(
            other.words_for("x y.gguf", "8000")[1..],
            ["-m", "x y.gguf", "--port", "8000", "--alias", "a b"]
        );
        assert_eq!(OtherServer::parse(command, Some("llama.cpp")).unwrap().name, "llama.cpp");
        for (command, expected) in [
            ("serve --port {port}", "does not say where {model} goes"),
            ("serve {model}", "does not say where {port} goes"),
            ("serve '{model} {port}", "quote"),
        ] {
            let error = OtherServer::parse(command, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_server_that_ends_or_is_not_there_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let start = |command: &str| {
            let other = OtherServer::parse(command, None).unwrap();
            other.start(&runtime, Path::new("m"), &log).unwrap_err().to_string()
        };
        let error = start("false {model} {port}");
        assert!(error.contains("false ended with") && error.contains("log"), "{error}");
        assert!(start("no-such-program {model} {port}").contains("no-such-program cannot"));
    }
}
