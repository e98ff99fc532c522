//! What the command writes to standard error beside its results.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use eitri::{Error, ExportProgress, LoadProgress, WriteProgress};
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

/// Shows how far something is: a line that renews itself in a terminal, else a line now and then.
pub(crate) struct Meter {
    terminal: bool,
    interval: Duration,
    shown: Cell<Instant>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let interval = if terminal { Duration::from_millis(50) } else { Duration::from_secs(5) };
        Self { terminal, interval, shown: Cell::new(Instant::now()) }
    }

    pub(crate) fn loading(&self, progress: LoadProgress) {
        let LoadProgress { loaded_bytes, total_bytes } = progress;
        let text = |percent| format!("loading weights: {percent} % of {}", bytes(total_bytes));
        self.show(loaded_bytes, total_bytes, text);
    }

    pub(crate) fn writing(&self, progress: ExportProgress) {
        let ExportProgress { done, total } = progress;
        let text = |percent| format!("quantizing: {percent} % of {} weights", parameters(total));
        self.show(done, total, text);
    }

    pub(crate) fn dequantizing(&self, progress: WriteProgress) {
        let WriteProgress { done, total } = progress;
        let text = |percent| format!("dequantizing: {percent} % of {} values", parameters(total));
        self.show(done, total, text);
    }

    fn show(&self, done: u64, total: u64, text: impl Fn(u64) -> String) {
        if self.shown.get().elapsed() < self.interval {
            return;
        }
        self.shown.set(Instant::now());
        let text = text(done.saturating_mul(100) / total.max(1));
        if self.terminal {
            eprint!("\r{text}");
            // Without a terminal to write to there is nothing to show.
            let _ = io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }

    /// Removes the line that renews itself.
    pub(crate) fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
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
    fn numbers_are_short() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(98 << 20), "98.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(parameters(134_515_008), "134.5 million");
        assert_eq!(parameters(30_500_000_000), "30.50 billion");
    }
}
