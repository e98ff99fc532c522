//! Starts the real binary and talks to it, for the end-to-end tests.

pub mod robot;

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a server may take until it answers; generous, since a test machine may be busy.
const START_LIMIT: Duration = Duration::from_mins(2);

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// The `eitri` binary that lies beside this test's own profile.
///
/// # Errors
/// When it has not been built.
pub fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test runs from target/PROFILE/deps")?;
    let binary = profile.join("eitri");
    ensure!(
        binary.is_file(),
        "{} is missing: build it with `cargo build --profile ci -p eitri`",
        binary.display()
    );
    Ok(binary)
}

/// SmolLM2-135M-Instruct as fetched by `cargo xtask models smollm2`.
///
/// # Errors
/// When it has not been fetched.
pub fn smollm2() -> Result<PathBuf> {
    let path = workspace().join("local/models/smollm2-135m-instruct-q4_1.gguf");
    ensure!(path.is_file(), "SmolLM2 is missing: fetch it with `cargo xtask models smollm2`");
    Ok(path)
}

/// A running `eitri serve`; killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub base: String,
}

impl Server {
    /// Starts `eitri serve MODEL --port 0` with more arguments and waits until it is ready.
    ///
    /// # Errors
    /// When the process ends or stays silent; the error has what it printed.
    pub fn start(model: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_binary(&binary()?, model, arguments)
    }

    /// The same with a certain binary.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_binary(binary: &Path, model: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(binary)
            .arg("serve")
            .arg(model)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("no standard error")?;
        let (sender, receiver) = mpsc::channel();
        // Reads to the end, so that a chatty server never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut printed = Vec::new();
        loop {
            let Ok(line) = receiver.recv_timeout(START_LIMIT) else {
                let _ = child.kill();
                let status = child.wait()?;
                bail!("the server did not become ready ({status}):\n{}", printed.join("\n"));
            };
            if let Some(at) = line.find("ready on http://") {
                let rest = &line[at + "ready on ".len()..];
                let base = rest.split_whitespace().next().unwrap_or(rest).to_owned();
                return Ok(Self { child, base });
            }
            printed.push(line);
        }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// A connection for tests that need the raw bytes.
    ///
    /// # Errors
    /// When the server does not accept.
    pub fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(self.address())?)
    }

    /// Sends JSON and returns status and body; error statuses are no errors here.
    ///
    /// # Errors
    /// When the connection fails or the body is no JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    /// Sends bytes that claim to be JSON.
    ///
    /// # Errors
    /// When the connection fails or the answer is no JSON.
    pub fn post_bytes(&self, path: &str, body: &[u8]) -> Result<(u16, Value)> {
        let mut response = agent()
            .post(format!("{}{path}", self.base))
            .header("Content-Type", "application/json")
            .send(body)?;
        let text = response.body_mut().read_to_string()?;
        let value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
        Ok((response.status().as_u16(), value))
    }

    /// Fetches a page as text.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut response = agent().get(format!("{}{path}", self.base)).call()?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    /// Value of a metric without looking at its labels.
    ///
    /// # Errors
    /// When `/metrics` lacks it.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics")?;
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| {
                let (key, value) = line.rsplit_once(' ')?;
                let bare = key.split('{').next()?;
                (bare == name).then(|| value.parse().ok()).flatten()
            })
            .with_context(|| format!("/metrics has no {name}"))
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// Off Linux.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
        Ok(kib * 1024)
    }

    /// Asks for a graceful stop and returns whether the process ended with success.
    ///
    /// # Errors
    /// When signals cannot be sent.
    pub fn terminate(mut self) -> Result<bool> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "kill failed");
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(5)))
        .build()
        .into()
}

/// Runs the binary to its end and returns status code, standard output and standard error.
///
/// # Errors
/// When it cannot be started.
pub fn run(arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(binary()?).args(arguments).stdin(Stdio::null()).output()?;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// Reads one HTTP response to the end of the stream.
///
/// # Errors
/// When reading fails.
pub fn read_all(stream: &mut TcpStream) -> Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
