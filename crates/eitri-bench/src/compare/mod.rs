//! Runs beside each other: ratios with intervals of confidence.

mod bootstrap;
mod sample;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use sample::{CompareError, MeasuredRequest, Run, Sample};

/// How samples are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompareOptions {
    /// Share by which a metric may be worse before it counts as a regression; 0.05 is 5 %.
    pub threshold: f64,
    /// Share of intervals that hold the true ratio.
    pub confidence: f64,
    /// How often requests are drawn anew.
    pub resamples: usize,
    /// Of the draws.
    pub seed: u64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { threshold: 0.05, confidence: 0.95, resamples: 1000, seed: 0 }
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Generated tokens per second of all runs.
    OutputThroughput,
    /// Mean time to first token.
    MeanTtft,
    /// Mean time per output token without the first.
    MeanTpot,
    /// 99th percentile of the gaps between tokens.
    P99Itl,
    /// Mean time from sending to the last token.
    MeanE2el,
}

impl Metric {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::OutputThroughput, Self::MeanTtft, Self::MeanTpot, Self::P99Itl, Self::MeanE2el];

    /// With its unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::OutputThroughput => "output throughput (tok/s)",
            Self::MeanTtft => "mean TTFT (ms)",
            Self::MeanTpot => "mean TPOT (ms)",
            Self::P99Itl => "P99 ITL (ms)",
            Self::MeanE2el => "mean E2EL (ms)",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        self == Self::OutputThroughput
    }
}

/// What a ratio and its interval say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Better, whatever the ratio is within its interval.
    Better,
    /// Not worse by more than the threshold, whatever the ratio is within its interval.
    NoRegression,
    /// Worse by more than the threshold, whatever the ratio is within its interval.
    Regression,
    /// The interval is too wide to tell.
    Unclear,
}

impl Finding {
    fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::NoRegression => "no regression",
            Self::Regression => "REGRESSION",
            Self::Unclear => "unclear",
        }
    }
}

/// One metric of two samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which one.
    pub metric: Metric,
    /// Of the first sample.
    pub base: f64,
    /// Of the other one.
    pub other: f64,
    /// `other / base`.
    pub ratio: f64,
    /// Interval of the ratio; none where there is too little to draw from: throughput needs two
    /// runs of each, everything else two requests.
    pub interval: Option<(f64, f64)>,
    /// What follows. Without an interval the ratio itself decides.
    pub finding: Finding,
}

/// One sample against the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first sample.
    pub base: String,
    /// The other one.
    pub other: String,
    /// Whether both have the same requests, so that they were drawn in pairs.
    pub paired: bool,
    /// One per metric that both have.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Compares two samples. Intervals are percentiles of the bootstrap (Efron 1979): requests are
    /// drawn with replacement, each with all its gaps, in pairs where both samples have the same
    /// requests; for throughput whole runs are drawn.
    pub fn of(base: &Sample, other: &Sample, options: &CompareOptions) -> Self {
        let paired = base.has_the_requests_of(other);
        let changes = Metric::ALL
            .into_iter()
            .filter_map(|metric| change(metric, base, other, paired, options))
            .collect();
        Self { base: base.name.clone(), other: other.name.clone(), paired, changes }
    }

    /// Whether any metric is worse by more than the threshold.
    pub fn has_regression(&self) -> bool {
        self.changes.iter().any(|change| change.finding == Finding::Regression)
    }
}

fn change(
    metric: Metric,
    base: &Sample,
    other: &Sample,
    paired: bool,
    options: &CompareOptions,
) -> Option<Change> {
    let (a, b) = (base.value(metric)?, other.value(metric)?);
    let ratio = b / a;
    if !ratio.is_finite() {
        return None;
    }
    let interval = bootstrap::interval(metric, base, other, paired, options);
    let finding = finding(metric, ratio, interval, options.threshold);
    Some(Change { metric, base: a, other: b, ratio, interval, finding })
}

fn finding(metric: Metric, ratio: f64, interval: Option<(f64, f64)>, threshold: f64) -> Finding {
    let (low, high) = interval.unwrap_or((ratio, ratio));
    // From here on more is worse.
    let (low, high) =
        if metric.more_is_better() { (high.recip(), low.recip()) } else { (low, high) };
    if low > 1.0 + threshold {
        Finding::Regression
    } else if high < 1.0 {
        Finding::Better
    } else if high <= 1.0 + threshold {
        Finding::NoRegression
    } else {
        Finding::Unclear
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.paired { "the same requests, in pairs" } else { "different requests" };
        writeln!(f, "{} against {} ({how})", self.other, self.base)?;
        write!(f, "{:<26} {:>10} {:>10} {:>8} {:>18}", "", "first", "second", "ratio", "interval")?;
        for change in &self.changes {
            let interval = change
                .interval
                .map_or("-".to_owned(), |(low, high)| format!("{low:.3} to {high:.3}"));
            write!(
                f,
                "\n{:<26} {:>10.2} {:>10.2} {:>8.3} {interval:>18}  {}",
                change.metric.title(),
                change.base,
                change.other,
                change.ratio,
                change.finding.name()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
