//! What the command writes to standard error beside its results.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use eitri::{DownloadProgress, Error, ExportProgress, LoadProgress, WriteProgress};
use eitri_runner::RunnerError;
use tracing_subscriber::EnvFilter;

use crate::cli::LogLevel;

const FAILURE: u8 = 1;
const USAGE: u8 = 2;

/// Starts logging to standard error. `EITRI_LOG` has the last word and may name single modules;
/// then come the flag and `VLLM_LOGGING_LEVEL`.
pub(crate) fn start_logging(flag: Option<LogLevel>, usual: LogLevel) {
    let variable = std::env::var("VLLM_LOGGING_LEVEL").ok();
    let level = flag.or_else(|| LogLevel::from_vllm(&variable?)).unwrap_or(usual);
    let filter = EnvFilter::try_from_env("EITRI_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{},hyper=warn,tokenizers=warn", level.name())));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Prints why a command failed and what to do about it, and returns the process's status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let known = error.downcast_ref::<Error>();
    if let Some(hint) = known.and_then(Error::hint) {
        eprintln!("hint: {hint}");
    }
    let is_usage = match known {
        Some(Error::Setting { .. } | Error::Affinity { .. } | Error::GenerationConfig { .. }) => {
            true
        }
        Some(Error::Runner(error)) => matches!(**error, RunnerError::Setting { .. }),
        _ => false,
    };
    ExitCode::from(if is_usage { USAGE } else { FAILURE })
}

/// Prints a command's result. A reader that has seen enough, such as `head`, is no failure.
pub(crate) fn print_result(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Shows how far something is: a bar that renews itself in a terminal, else a line now and then.
pub(crate) struct Meter {
    terminal: bool,
    interval: Duration,
    start: Instant,
    shown: Cell<Instant>,
    /// What was there at the first report, which tells nothing about the rate.
    first: Cell<Option<u64>>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let interval = if terminal { Duration::from_millis(50) } else { Duration::from_secs(5) };
        let start = Instant::now();
        Self { terminal, interval, start, shown: Cell::new(start), first: Cell::new(None) }
    }

    pub(crate) fn loading(&self, progress: LoadProgress) {
        let LoadProgress { loaded_bytes, total_bytes } = progress;
        self.show("loading weights", loaded_bytes, total_bytes, bytes);
    }

    pub(crate) fn writing(&self, progress: ExportProgress) {
        let ExportProgress { done, total } = progress;
        self.show("quantizing", done, total, parameters);
    }

    pub(crate) fn requesting(&self, done: u64, total: u64) {
        self.show("requests", done, total, |count| count.to_string());
    }

    fn downloading(&self, progress: DownloadProgress<'_>) {
        let DownloadProgress { file, done_bytes, total_bytes } = progress;
        // The end of a name tells shards apart.
        let name: Vec<char> = file.chars().rev().take(32).collect();
        let name: String = name.into_iter().rev().collect();
        self.show(&name, done_bytes, total_bytes, bytes);
    }

    pub(crate) fn dequantizing(&self, progress: WriteProgress) {
        let WriteProgress { done, total } = progress;
        self.show("dequantizing", done, total, parameters);
    }

    fn show(&self, what: &str, done: u64, total: u64, unit: fn(u64) -> String) {
        let first = self.first.get().unwrap_or(done);
        self.first.set(Some(first));
        if self.shown.get().elapsed() < self.interval {
            return;
        }
        self.shown.set(Instant::now());
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = unit(((done - first.min(done)) as f64 / seconds) as u64);
        let amount = format!("{} of {}, {rate}/s", unit(done), unit(total));
        if self.terminal {
            eprint!("\r{what} {} {amount}\x1b[K", bar(done, total));
            // Without a terminal to write to there is nothing to show.
            let _ = io::stderr().flush();
        } else {
            eprintln!("{what}: {amount}");
        }
    }

    /// Removes the line that renews itself.
    pub(crate) fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// Twenty cells, those of the share that is done filled.
fn bar(done: u64, total: u64) -> String {
    const CELLS: u64 = 20;
    let filled = (done.min(total).saturating_mul(CELLS) / total.max(1)) as usize;
    format!("[{:<20}]", "#".repeat(filled))
}

/// Downloads a model of the hub that is not on this machine, and shows how far it is.
pub(crate) fn fetch(model: &Path, revision: Option<&str>) -> Result<(), Error> {
    let meter = Meter::new();
    let fetched = eitri::fetch(model, revision, &|progress| meter.downloading(progress));
    meter.clear();
    fetched
}

/// Shows bytes with a unit that leaves few digits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} bytes");
    }
    let unit = ((bytes.ilog2() / 10) as usize).clamp(1, UNITS.len());
    format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * unit)) as f64, UNITS[unit - 1])
}

/// Shows a number of parameters as people say it.
pub(crate) fn parameters(count: u64) -> String {
    let count = count as f64;
    if count >= 1e9 {
        format!("{:.2} billion", count / 1e9)
    } else {
        format!("{:.1} million", count / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_at_any_share() {
        assert_eq!(bar(0, 10), "[                    ]");
        assert_eq!(bar(5, 10), "[##########          ]");
        assert_eq!(bar(12, 10), "[####################]");
        assert_eq!(bar(0, 0).len(), 22);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(98 << 20), "98.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(parameters(134_515_008), "134.5 million");
        assert_eq!(parameters(30_500_000_000), "30.50 billion");
    }
}
