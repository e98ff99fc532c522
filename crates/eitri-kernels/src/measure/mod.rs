//! How fast the kernels are on this machine, beside what it can do at most, for benchmarks.

mod attention;
mod linear;
mod peaks;

use std::time::{Duration, Instant};

pub use attention::{AttentionSize, attention_seconds, write_seconds};
pub use linear::{LinearRates, linear_rates};
pub use peaks::{Peaks, ReadBandwidth};

use crate::KernelError;

/// Best of many short runs of `f`, in seconds per call: a run of two milliseconds has a chance to
/// be left alone on a machine that does other things too.
fn best(mut f: impl FnMut() -> Result<(), KernelError>) -> Result<f64, KernelError> {
    f()?;
    let start = Instant::now();
    f()?;
    let calls = (0.002 / start.elapsed().as_secs_f64()).ceil().clamp(1.0, 1e5) as usize;
    let mut best = f64::INFINITY;
    let end = Instant::now() + Duration::from_millis(400);
    while best.is_infinite() || Instant::now() < end {
        let start = Instant::now();
        for _ in 0..calls {
            f()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
    }
    Ok(best)
}
