//! How evenly tokens come.

use serde::{Deserialize, Serialize};

use crate::outcome::BenchOutcome;
use crate::statistics::percentile;

/// Bars of the histogram per factor of ten.
const PER_DECADE: i32 = 8;

/// Gaps between token events, all requests pooled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Jitter {
    /// How many gaps.
    pub gaps: usize,
    /// Milliseconds that half of them do not exceed.
    pub median_ms: f64,
    /// The same of 99 in 100.
    pub p99_ms: f64,
    /// The same of 999 in 1000.
    pub p999_ms: f64,
    /// The longest.
    pub longest_ms: f64,
    /// How many lie where.
    pub histogram: Vec<Bar>,
}

/// Gaps of about the same length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Shortest length in milliseconds.
    pub from_ms: f64,
    /// What they are shorter than.
    pub below_ms: f64,
    /// How many.
    pub count: usize,
}

impl Jitter {
    /// Of a run; none where no request generated two tokens.
    pub fn of(outcome: &BenchOutcome) -> Option<Self> {
        let completed = outcome.requests.iter().filter(|request| request.success());
        Self::of_gaps(
            completed.flat_map(|request| request.itl.iter().map(|gap| gap * 1e3)).collect(),
        )
    }

    /// Of gaps in milliseconds, in any order.
    pub fn of_gaps(mut gaps: Vec<f64>) -> Option<Self> {
        gaps.sort_by(f64::total_cmp);
        let longest_ms = *gaps.last()?;
        Some(Self {
            gaps: gaps.len(),
            median_ms: percentile(&gaps, 50.0),
            p99_ms: percentile(&gaps, 99.0),
            p999_ms: percentile(&gaps, 99.9),
            longest_ms,
            histogram: histogram(&gaps),
        })
    }
}

/// Bars of equal width on a logarithmic axis, from the first to the last that holds a gap. What is
/// shorter than a microsecond counts as one.
fn histogram(sorted: &[f64]) -> Vec<Bar> {
    let edge = |index: i32| 10_f64.powf(f64::from(index) / f64::from(PER_DECADE));
    let place = |gap: f64| (gap.max(1e-3).log10() * f64::from(PER_DECADE)).floor() as i32;
    let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    (place(first)..=place(last))
        .map(|index| Bar {
            from_ms: edge(index),
            below_ms: edge(index + 1),
            count: sorted.iter().filter(|&&gap| place(gap) == index).count(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_seen_and_no_gap_is_lost() {
        let mut gaps = vec![10.0; 998];
        gaps.extend([250.0, 0.0]);
        let jitter = Jitter::of_gaps(gaps).unwrap();
        assert!((jitter.longest_ms - 250.0).abs() < 1e-12);
        assert!((jitter.p99_ms - 10.0).abs() < 1e-12 && jitter.p999_ms > 10.0);
        assert_eq!(jitter.histogram.iter().map(|bar| bar.count).sum::<usize>(), 1000);
        let of_250 = jitter.histogram.last().unwrap();
        assert!(of_250.from_ms <= 250.0 && 250.0 < of_250.below_ms && of_250.count == 1);
        assert!(Jitter::of_gaps(Vec::new()).is_none());
    }
}
