//! Means, deviations and percentiles as NumPy computes them, to the last bit: result files can then
//! be compared with those of vLLM's client byte by byte.

use crate::outcome::Summary;

/// NumPy adds runs of this many numbers before it adds the sums.
const BLOCK: usize = 128;

/// Milliseconds per second.
const MILLI: f64 = 1000.0;

/// Pairwise sum as in `numpy.add.reduce` over contiguous doubles: eight accumulators within a block,
/// halves of a multiple of eight above.
fn sum(values: &[f64]) -> f64 {
    if values.len() < 8 {
        return values.iter().sum::<f64>() + 0.0;
    }
    if values.len() > BLOCK {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % 8);
        return sum(left) + sum(right);
    }
    let (eights, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for (index, eight) in eights.iter().enumerate() {
        for (lane, value) in lanes.iter_mut().zip(eight) {
            *lane = if index == 0 { *value } else { *lane + value };
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |total, value| total + value)
}

/// Arithmetic mean; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { sum(values) / values.len() as f64 }
}

/// Of the population, as `numpy.std`.
fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: Vec<f64> = values.iter().map(|value| (value - mean) * (value - mean)).collect();
    self::mean(&squares).sqrt()
}

fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { mean(&sorted[half - 1..=half]) }
}

/// Linear interpolation between the neighbours of ascending values, as `numpy.percentile`; 0 of
/// nothing. `percentile` is in [0, 100].
pub fn percentile(sorted: &[f64], percentile: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = percentile / 100.0 * last as f64;
    let below = place.floor();
    let lower = sorted[(below as usize).min(last)];
    let upper = sorted[(below as usize + 1).min(last)];
    let (share, difference) = (place - below, upper - lower);
    if share >= 0.5 { upper - difference * (1.0 - share) } else { lower + difference * share }
}

/// Of times in seconds; the summary is in milliseconds.
pub(crate) fn summary(seconds: &[f64], percentiles: &[f64]) -> Summary {
    if seconds.is_empty() {
        let percentiles = percentiles.iter().map(|&wanted| (wanted, 0.0)).collect();
        return Summary { percentiles, ..Summary::default() };
    }
    let mut sorted = seconds.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |&wanted: &f64| (wanted, percentile(&sorted, wanted) * MILLI);
    Summary {
        mean: mean(seconds) * MILLI,
        median: median(&sorted) * MILLI,
        std: standard_deviation(seconds) * MILLI,
        percentiles: percentiles.iter().map(at).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([1, 2, 4, 8], [50, 99, 99.9])
        let values = [1.0, 2.0, 4.0, 8.0];
        for (percent, want) in [(50.0, 3.0), (99.0, 7.88), (99.9, 7.988), (100.0, 8.0), (0.0, 1.0)]
        {
            assert!((percentile(&values, percent) - want).abs() < 1e-12, "{percent}");
        }
        assert!(percentile(&[], 50.0).abs() < f64::EPSILON);
    }
}
