//! A modelled time on the device, from what a launch counted. It is a roofline: the busiest unit
//! decides. Nothing here was measured on a Thor, and every use must say *modelled*.

use std::fmt;

use crate::config::Device;
use crate::counters::Counters;

/// Instructions that one SM issues per clock: one for each of its four partitions.
const ISSUE_PER_CLOCK: f64 = 4.0;

/// Time between the start of a launch and its first instruction, with its end: an assumption.
const LAUNCH_SECONDS: f64 = 3e-6;

/// Bytes of a sector of global memory.
const SECTOR: f64 = 32.0;

/// One limit on the time of a launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The unit that is busy.
    pub name: &'static str,
    /// For how long, in seconds.
    pub seconds: f64,
    /// Where the rate comes from.
    pub source: &'static str,
}

/// The modelled time of a launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// All terms: those that overlap, then the launch itself.
    pub terms: Vec<Term>,
    /// The largest of the terms that overlap, plus the launch, in seconds.
    pub seconds: f64,
}

impl Estimate {
    /// The term that decides.
    pub fn bound(&self) -> Option<&Term> {
        let overlapping = self.terms.iter().filter(|term| term.name != "launch");
        overlapping.max_by(|a, b| a.seconds.total_cmp(&b.seconds))
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "modelled {:.2} us", self.seconds * 1e6)?;
        for term in &self.terms {
            write!(f, "; {} {:.2} us ({})", term.name, term.seconds * 1e6, term.source)?;
        }
        Ok(())
    }
}

/// Models the time of a launch on a device.
///
/// Sectors are counted as if nothing were cached, so memory is an upper bound for kernels that
/// read the same data again. CTAs fewer than SMs leave the others idle. FP8 through `mma.sync` is
/// executed as 16-bit products on Thor and counts as such.
pub fn estimate(device: &Device, counters: &Counters) -> Estimate {
    let busy = f64::from(device.multiprocessors).min(counters.blocks.max(1) as f64);
    let share = busy / f64::from(device.multiprocessors);
    let sectors = (counters.global.load_units + counters.global.store_units) as f64;
    let waves = (counters.shared.load_units + counters.shared.store_units) as f64;
    let short = counters.tensor_operations_8bit as f64;
    let long = counters.tensor_operations as f64 - short;
    let terms = vec![
        Term {
            name: "memory",
            seconds: sectors * SECTOR / device.memory_bandwidth,
            source: "data sheet: 273 GB/s",
        },
        Term {
            name: "tensor",
            seconds: (long + short / 2.0) / (device.tensor_flops_16bit * share),
            source: "data sheet: 258 TFLOP/s dense at 16 bits, twice that for int8",
        },
        Term {
            name: "issue",
            seconds: counters.warp_instructions() as f64
                / (busy * ISSUE_PER_CLOCK * device.clock_hz),
            source: "four instructions per clock and SM, PTX taken for machine code",
        },
        Term {
            name: "shared",
            seconds: waves / (busy * device.clock_hz),
            source: "one wave per clock and SM",
        },
        Term { name: "launch", seconds: LAUNCH_SECONDS, source: "assumed" },
    ];
    let overlapping = terms[..4].iter().map(|term| term.seconds).fold(0.0, f64::max);
    Estimate { terms, seconds: overlapping + LAUNCH_SECONDS }
}
