//! What environment variables choose; the program under test does not know that they exist.

use std::{env, path::PathBuf};

use vgpu::{Checks, Config, Copies, Numeric, Order, Schedule};

/// The variables, with what each may hold.
pub(crate) const HELP: &str = "\
VGPU_CHECKS     none, all, or a list with commas of bounds, uninitialised, shared-races,
                global-races, proxy-fences, early-exits (without it: bounds)
VGPU_SCHEDULE   lowest, highest or random:SEED, for lanes, warps and blocks; with early, late or
                copies:SEED after a comma, for asynchronous copies (without it: lowest,early)
VGPU_STREAMS    eager: work runs when it is submitted; oldest, newest or random:SEED: it runs when
                something waits for it, in that order as far as streams and events allow
VGPU_NUMERIC    plain or perturbed:SEED
VGPU_THREADS    host threads over which blocks are spread
VGPU_REPORT     calls, kernels, or both with a comma: printed to standard error at exit, with
                memory that was not freed
VGPU_RESOURCES  the resources.tsv that `cargo xtask cuda` writes: registers of each kernel";

/// When submitted work runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Streams {
    #[default]
    Eager,
    Oldest,
    Newest,
    Random(u64),
}

/// What the report at exit shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) calls: bool,
    pub(crate) kernels: bool,
}

/// Everything that is chosen outside the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) gpu: Config,
    pub(crate) streams: Streams,
    pub(crate) shown: Option<Shown>,
    pub(crate) resources: Option<PathBuf>,
}

/// A variable whose value is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?} is not understood; it may be\n{HELP}")]
pub(crate) struct BadSetting {
    variable: &'static str,
    value: String,
}

impl Settings {
    pub(crate) fn from_environment() -> Result<Self, BadSetting> {
        Self::read(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&'static str) -> Option<String>) -> Result<Self, BadSetting> {
        let mut settings = Self::default();
        let mut apply = |name, set: &mut dyn FnMut(&mut Self, &str) -> Option<()>| {
            let Some(value) = variable(name) else { return Ok(()) };
            set(&mut settings, &value).ok_or(BadSetting { variable: name, value })
        };
        apply("VGPU_CHECKS", &mut |s, v| checks(v).map(|c| s.gpu.checks = c))?;
        apply("VGPU_SCHEDULE", &mut |s, v| schedule(v).map(|c| s.gpu.schedule = c))?;
        apply("VGPU_STREAMS", &mut |s, v| streams(v).map(|c| s.streams = c))?;
        apply("VGPU_NUMERIC", &mut |s, v| numeric(v).map(|c| s.gpu.numeric = c))?;
        apply("VGPU_THREADS", &mut |s, v| {
            s.gpu.threads = v.parse().ok().filter(|threads| *threads > 0)?;
            Some(())
        })?;
        apply("VGPU_REPORT", &mut |s, v| {
            let shown = shown(v)?;
            s.gpu.counters = shown.kernels;
            s.shown = Some(shown);
            Some(())
        })?;
        apply("VGPU_RESOURCES", &mut |s, v| {
            s.resources = Some(PathBuf::from(v));
            Some(())
        })?;
        Ok(settings)
    }
}

fn checks(value: &str) -> Option<Checks> {
    match value {
        "none" => return Some(Checks::NONE),
        "all" => return Some(Checks::ALL),
        _ => {}
    }
    let mut checks = Checks::NONE;
    for name in value.split(',') {
        match name {
            "bounds" => checks.bounds = true,
            "uninitialised" => checks.uninitialised = true,
            "shared-races" => checks.shared_races = true,
            "global-races" => checks.global_races = true,
            "proxy-fences" => checks.proxy_fences = true,
            "early-exits" => checks.early_exits = true,
            _ => return None,
        }
    }
    Some(checks)
}

fn schedule(value: &str) -> Option<Schedule> {
    let mut schedule = Schedule::default();
    for part in value.split(',') {
        match part.split_once(':') {
            None => match part {
                "lowest" => schedule.order = Order::LowestFirst,
                "highest" => schedule.order = Order::HighestFirst,
                "early" => schedule.copies = Copies::Early,
                "late" => schedule.copies = Copies::Late,
                _ => return None,
            },
            Some(("random", seed)) => schedule.order = Order::Random(seed.parse().ok()?),
            Some(("copies", seed)) => schedule.copies = Copies::Random(seed.parse().ok()?),
            Some(_) => return None,
        }
    }
    Some(schedule)
}

fn streams(value: &str) -> Option<Streams> {
    match value {
        "eager" => Some(Streams::Eager),
        "oldest" => Some(Streams::Oldest),
        "newest" => Some(Streams::Newest),
        _ => value.strip_prefix("random:")?.parse().ok().map(Streams::Random),
    }
}

fn numeric(value: &str) -> Option<Numeric> {
    match value {
        "plain" => Some(Numeric::Plain),
        _ => value.strip_prefix("perturbed:")?.parse().ok().map(Numeric::Perturbed),
    }
}

fn shown(value: &str) -> Option<Shown> {
    let mut shown = Shown::default();
    for part in value.split(',') {
        match part {
            "calls" => shown.calls = true,
            "kernels" => shown.kernels = true,
            _ => return None,
        }
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &'static str, value: &str) -> Result<Settings, BadSetting> {
        Settings::read(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn every_value_of_the_help_is_understood() {
        assert_eq!(one("VGPU_CHECKS", "all").unwrap().gpu.checks, Checks::ALL);
        let two = one("VGPU_CHECKS", "bounds,global-races").unwrap().gpu.checks;
        assert_eq!(two, Checks { bounds: true, global_races: true, ..Checks::NONE });
        let schedule = one("VGPU_SCHEDULE", "random:7,late").unwrap().gpu.schedule;
        assert_eq!(schedule, Schedule { order: Order::Random(7), copies: Copies::Late });
        assert_eq!(one("VGPU_STREAMS", "random:3").unwrap().streams, Streams::Random(3));
        assert_eq!(one("VGPU_STREAMS", "newest").unwrap().streams, Streams::Newest);
        let numeric = one("VGPU_NUMERIC", "perturbed:1").unwrap().gpu.numeric;
        assert_eq!(numeric, Numeric::Perturbed(1));
        assert_eq!(one("VGPU_THREADS", "3").unwrap().gpu.threads, 3);
        let report = one("VGPU_REPORT", "kernels").unwrap();
        assert!(report.gpu.counters);
        assert_eq!(report.shown, Some(Shown { calls: false, kernels: true }));
    }

    #[test]
    fn a_value_that_is_not_understood_is_an_error_that_lists_what_is() {
        for (name, value) in [
            ("VGPU_CHECKS", "bound"),
            ("VGPU_SCHEDULE", "random"),
            ("VGPU_STREAMS", "lazy"),
            ("VGPU_NUMERIC", "perturbed"),
            ("VGPU_THREADS", "0"),
            ("VGPU_REPORT", "everything"),
        ] {
            let error = one(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("proxy-fences"), "{error}");
        }
    }
}
