//! What the system's files tell about the machine and the energy that a run took.
//!
//! Linux only; elsewhere, and where a file is missing or may not be read, a fact is left out.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How often power is read where no counter of energy exists.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Facts about the machine that measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the board or processor.
    pub name: Option<String>,
    /// Processors that the system shows.
    pub processors: Option<usize>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of the largest cache.
    pub cache_bytes: Option<u64>,
    /// NVIDIA's power mode on a Jetson, else the governor of processor 0.
    pub power_mode: Option<String>,
    /// Release of the system's kernel.
    pub system: Option<String>,
}

/// Energy of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules by the sensors that the machine has; what they cover is the machine's choice.
    pub joules: f64,
    /// Generated tokens per joule.
    pub tokens_per_joule: f64,
}

impl Machine {
    /// Of this machine.
    pub fn this() -> Self {
        Self::under(Path::new("/"))
    }

    /// From the files below `root`.
    fn under(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        let cpu_info = read("proc/cpuinfo").unwrap_or_default();
        let board = read("proc/device-tree/model").map(|name| tidy(&name));
        let processors = cpu_info.lines().filter(|line| line.starts_with("processor")).count();
        let memory = read("proc/meminfo").and_then(|text| {
            let kilobytes = after(&text, "MemTotal:")?.split_whitespace().next()?.parse::<u64>();
            Some(kilobytes.ok()? << 10)
        });
        let caches = children(&root.join("sys/devices/system/cpu/cpu0/cache"));
        let sizes = caches.iter().filter_map(|cache| {
            let size = fs::read_to_string(cache.join("size")).ok()?;
            Some(size.trim().strip_suffix('K')?.parse::<u64>().ok()? << 10)
        });
        let governor = read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Self {
            name: board.or_else(|| after(&cpu_info, "model name").map(|name| tidy(&name))),
            processors: (processors > 0).then_some(processors),
            memory_bytes: memory,
            cache_bytes: sizes.max(),
            power_mode: read("var/lib/nvpmodel/status").or(governor).map(|mode| tidy(&mode)),
            system: read("proc/sys/kernel/osrelease").map(|release| tidy(&release)),
        }
    }
}

/// What follows a key and its colon in the first line that has it.
fn after(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line[key.len()..].trim_start_matches([' ', '\t', ':']).to_owned())
}

fn tidy(text: &str) -> String {
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()
}

/// Measures energy from its start until [`EnergyMeter::joules`].
#[derive(Debug)]
pub struct EnergyMeter(Meter);

#[derive(Debug)]
enum Meter {
    /// Counters of microjoules (powercap), their values at the start and where they wrap.
    Counters(Vec<Counter>),
    /// A thread that adds up power (hwmon).
    Sampled { stop: mpsc::Sender<()>, thread: thread::JoinHandle<f64> },
}

#[derive(Debug)]
struct Counter {
    file: PathBuf,
    start: u64,
    range: u64,
}

impl EnergyMeter {
    /// Starts measuring; none where the machine has no sensor that may be read.
    pub fn start() -> Option<Self> {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Option<Self> {
        let counters = counters(root);
        if !counters.is_empty() {
            return Some(Self(Meter::Counters(counters)));
        }
        let sensors: Arc<[Sensor]> = sensors(root).into();
        if sensors.is_empty() {
            return None;
        }
        let (stop, stopped) = mpsc::channel();
        let sample = move || {
            let (mut joules, mut last) = (0.0, (Instant::now(), watts(&sensors)));
            loop {
                let ended = stopped.recv_timeout(SAMPLE_INTERVAL) != Err(RecvTimeoutError::Timeout);
                let now = (Instant::now(), watts(&sensors));
                joules += (now.0 - last.0).as_secs_f64() * f64::midpoint(now.1, last.1);
                last = now;
                if ended {
                    return joules;
                }
            }
        };
        let thread = thread::Builder::new().name("energy".to_owned()).spawn(sample).ok()?;
        Some(Self(Meter::Sampled { stop, thread }))
    }

    /// Joules since the start; none where a sensor could not be read any more.
    pub fn joules(self) -> Option<f64> {
        match self.0 {
            Meter::Counters(counters) => counters
                .iter()
                .map(|counter| {
                    let now = number(&counter.file)?;
                    // A counter that is below its start has wrapped once.
                    let wrapped = if now < counter.start { counter.range } else { 0 };
                    Some((now + wrapped - counter.start) as f64 * 1e-6)
                })
                .sum(),
            Meter::Sampled { stop, thread } => {
                drop(stop);
                thread.join().ok()
            }
        }
    }
}

impl Energy {
    /// Of a run that generated so many tokens.
    pub fn new(joules: f64, tokens: usize) -> Option<Self> {
        (joules > 0.0).then(|| Self { joules, tokens_per_joule: tokens as f64 / joules })
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whole packages, `intel-rapl:0`; their parts, `intel-rapl:0:1`, are counted in them.
fn counters(root: &Path) -> Vec<Counter> {
    children(&root.join("sys/class/powercap"))
        .into_iter()
        .filter(|zone| file_name(zone).matches(':').count() == 1)
        .filter_map(|zone| {
            let file = zone.join("energy_uj");
            let start = number(&file)?;
            Some(Counter { start, range: number(&zone.join("max_energy_range_uj"))?, file })
        })
        .collect()
}

/// A sensor of power.
#[derive(Debug)]
enum Sensor {
    /// Microwatts.
    Power(PathBuf),
    /// Millivolts and milliamperes.
    VoltageAndCurrent(PathBuf, PathBuf),
}

/// The input of a Jetson's board (`VDD_IN`, or `VIN_SYS...` on later ones) where it is measured, or
/// else all sensors of power.
fn sensors(root: &Path) -> Vec<Sensor> {
    let mut all = Vec::new();
    for chip in children(&root.join("sys/class/hwmon")) {
        for file in children(&chip) {
            let name = file_name(&file);
            if name.starts_with("power") && name.ends_with("_input") && number(&file).is_some() {
                all.push(Sensor::Power(file));
                continue;
            }
            let Some(channel) = name.strip_prefix("in").and_then(|n| n.strip_suffix("_label"))
            else {
                continue;
            };
            let label = fs::read_to_string(&file).unwrap_or_default();
            let voltage = chip.join(format!("in{channel}_input"));
            let current = chip.join(format!("curr{channel}_input"));
            let is_input = ["VDD_IN", "VIN", "VIN_SYS_5V0"].contains(&label.trim());
            if is_input && number(&voltage).is_some() && number(&current).is_some() {
                return vec![Sensor::VoltageAndCurrent(voltage, current)];
            }
        }
    }
    all
}

fn watts(sensors: &[Sensor]) -> f64 {
    let watts = |sensor: &Sensor| match sensor {
        Sensor::Power(file) => number(file).unwrap_or_default() as f64 * 1e-6,
        Sensor::VoltageAndCurrent(voltage, current) => {
            let milli = |file: &Path| number(file).unwrap_or_default() as f64 * 1e-3;
            milli(voltage) * milli(current)
        }
    };
    sensors.iter().map(watts).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_jetson_names_itself_and_its_power_mode() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Machine::under(root.path()), Machine::default());
        write(root.path(), "proc/device-tree/model", "NVIDIA Jetson AGX Thor Developer Kit\0");
        write(root.path(), "proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 2000\nprocessor\t: 1\n");
        write(root.path(), "proc/meminfo", "MemTotal:       131072 kB\nMemFree: 1 kB\n");
        write(root.path(), "var/lib/nvpmodel/status", "pmode:0000\n");
        for (index, size) in ["48K\n", "1024K\n", "32768K\n"].into_iter().enumerate() {
            let path = format!("sys/devices/system/cpu/cpu0/cache/index{index}/size");
            write(root.path(), &path, size);
        }
        let machine = Machine::under(root.path());
        assert_eq!(machine.name.as_deref(), Some("NVIDIA Jetson AGX Thor Developer Kit"));
        assert_eq!((machine.processors, machine.memory_bytes), (Some(2), Some(128 << 20)));
        assert_eq!(machine.power_mode.as_deref(), Some("pmode:0000"));
        assert_eq!(machine.cache_bytes, Some(32 << 20));
    }

    #[test]
    fn counters_of_packages_are_added_and_may_wrap() {
        let root = tempfile::tempdir().unwrap();
        assert!(EnergyMeter::under(root.path()).is_none());
        for (zone, energy) in
            [("intel-rapl:0", "900"), ("intel-rapl:1", "100"), ("intel-rapl:0:0", "5")]
        {
            write(root.path(), &format!("sys/class/powercap/{zone}/energy_uj"), energy);
            write(root.path(), &format!("sys/class/powercap/{zone}/max_energy_range_uj"), "1000");
        }
        let meter = EnergyMeter::under(root.path()).unwrap();
        write(root.path(), "sys/class/powercap/intel-rapl:0/energy_uj", "50");
        write(root.path(), "sys/class/powercap/intel-rapl:1/energy_uj", "400");
        assert!((meter.joules().unwrap() - 450e-6).abs() < 1e-12);
        assert!((Energy::new(2.0, 10).unwrap().tokens_per_joule - 5.0).abs() < 1e-12);
    }

    #[test]
    fn a_jetsons_input_is_preferred_to_its_rails() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| format!("sys/class/hwmon/hwmon1/{name}");
        for (name, text) in [
            ("in1_label", "VDD_GPU"),
            ("in1_input", "5000"),
            ("curr1_input", "1000"),
            ("in2_label", "VDD_IN\n"),
            ("in2_input", "20000\n"),
            ("curr2_input", "3000\n"),
        ] {
            write(root.path(), &file(name), text);
        }
        write(root.path(), "sys/class/hwmon/hwmon0/power1_input", "7000000");
        assert!((watts(&sensors(root.path())) - 60.0).abs() < 1e-9);
        assert!(EnergyMeter::under(root.path()).unwrap().joules().is_some());
    }
}
