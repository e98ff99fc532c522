//! Intervals of ratios by drawing anew.

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    CompareOptions, Metric, Sample,
    sample::{of_requests, throughput},
};
use crate::statistics::percentile;

/// The percentile interval of `other / base`; none where one side has fewer than two things to draw.
pub(super) fn interval(
    metric: Metric,
    base: &Sample,
    other: &Sample,
    paired: bool,
    options: &CompareOptions,
) -> Option<(f64, f64)> {
    let (requests_a, requests_b) = (base.requests(), other.requests());
    let (a, b) = match metric {
        Metric::OutputThroughput => (base.runs.len(), other.runs.len()),
        _ => (requests_a.len(), requests_b.len()),
    };
    if a.min(b) < 2 {
        return None;
    }
    let value = |side: Side, draws: &[usize]| {
        let (sample, requests) = match side {
            Side::Base => (base, &requests_a),
            Side::Other => (other, &requests_b),
        };
        if metric == Metric::OutputThroughput {
            return throughput(draws.iter().map(|&index| &sample.runs[index]));
        }
        let drawn: Vec<_> = draws.iter().map(|&index| requests[index]).collect();
        of_requests(metric, &drawn)
    };
    // Runs are made in turns, so those of the same number are a pair too.
    let paired = a == b && (paired || metric == Metric::OutputThroughput);
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut draw =
        |count: usize| -> Vec<usize> { (0..count).map(|_| rng.random_range(0..count)).collect() };
    let mut ratios = Vec::with_capacity(options.resamples);
    for _ in 0..options.resamples {
        let draws_a = draw(a);
        let draws_b = if paired { draws_a.clone() } else { draw(b) };
        let ratio = value(Side::Other, &draws_b)? / value(Side::Base, &draws_a)?;
        ratios.push(ratio);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - options.confidence) / 2.0 * 100.0;
    Some((percentile(&ratios, tail), percentile(&ratios, 100.0 - tail)))
}

#[derive(Clone, Copy)]
enum Side {
    Base,
    Other,
}
