//! When requests are sent.

use crate::{
    BenchError, Compat,
    draws::GlobalDraws,
    outcome::{RampUp, RampUpStrategy},
};

/// `--request-rate` and its like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Requests per second; none sends all at once.
    pub rate: Option<f64>,
    /// Shape of the gamma distribution of the gaps; 1 makes a Poisson process, larger values are
    /// more regular. Infinity makes all gaps equal (0.32 only).
    pub burstiness: f64,
    /// A rate that changes from the first request to the last.
    pub ramp_up: Option<RampUp>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { rate: None, burstiness: 1.0, ramp_up: None }
    }
}

/// When one request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Seconds after the start of the run.
    pub time: f64,
    /// Requests per second at that time; infinite where all are sent at once.
    pub rate: f64,
}

impl Traffic {
    /// Checks what does not depend on the requests.
    ///
    /// # Errors
    /// Names the flag that has no meaning.
    pub fn check(&self, compat: Compat) -> Result<(), BenchError> {
        let positive = |value: f64| value > 0.0;
        if let Some(rate) = self.rate.filter(|&rate| !positive(rate) || rate.is_infinite()) {
            let message = format!("{rate} is out of range: a rate is above 0 (`inf`: all at once)");
            return Err(BenchError::flag("--request-rate", message));
        }
        let regular = self.burstiness.is_infinite() && compat < Compat::V0_32;
        if !positive(self.burstiness) || regular {
            let message = format!(
                "{} is out of range: it is above 0, and finite but with --compat vllm-0.32",
                self.burstiness
            );
            return Err(BenchError::flag("--burstiness", message));
        }
        let Some(ramp) = self.ramp_up else { return Ok(()) };
        if self.rate.is_some() {
            let message = "the rate of a ramp-up is given by --ramp-up-start-rps and -end-rps";
            return Err(BenchError::flag("--request-rate", message));
        }
        if ramp.start_rps == 0 || ramp.start_rps > ramp.end_rps {
            let message = format!(
                "{} is out of range: it is at least 1 and at most --ramp-up-end-rps, {}",
                ramp.start_rps, ramp.end_rps
            );
            return Err(BenchError::flag("--ramp-up-start-rps", message));
        }
        Ok(())
    }

    /// Draws the times of `count` requests. Gaps add up; without a ramp-up the sum is then stretched
    /// so that the last request is sent at `count / rate`.
    pub fn arrivals(&self, count: usize, draws: &mut GlobalDraws) -> Vec<Arrival> {
        let mut time = 0.0;
        let mut arrivals: Vec<Arrival> = (0..count)
            .map(|index| {
                let rate = self.rate_at(index, count);
                time += self.gap(rate, draws);
                Arrival { time, rate }
            })
            .collect();
        if let (Some(rate), None) = (self.rate, self.ramp_up) {
            let factor = count as f64 / rate / time;
            for arrival in arrivals.iter_mut().filter(|_| time > 0.0) {
                arrival.time *= factor;
            }
        }
        arrivals
    }

    fn gap(&self, rate: f64, draws: &mut GlobalDraws) -> f64 {
        if rate.is_infinite() {
            0.0
        } else if self.burstiness.is_infinite() {
            1.0 / rate
        } else {
            draws.numpy.gamma(self.burstiness, 1.0 / (rate * self.burstiness))
        }
    }

    fn rate_at(&self, index: usize, count: usize) -> f64 {
        let Some(ramp) = self.ramp_up else { return self.rate.unwrap_or(f64::INFINITY) };
        let progress = index as f64 / (count - 1).max(1) as f64;
        let (start, end) = (f64::from(ramp.start_rps), f64::from(ramp.end_rps));
        match ramp.strategy {
            RampUpStrategy::Linear => start + (end - start) * progress,
            RampUpStrategy::Exponential => start * (end / start).powf(progress),
        }
    }
}
