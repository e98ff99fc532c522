//! The block of results that is printed after a run, as vLLM prints it, trailing blanks included.

use std::fmt::Display;

use crate::{
    Compat,
    outcome::{BenchOutcome, MetricKind, Summary},
    python_text,
};

/// Columns of the block.
const WIDTH: usize = 50;

/// The lines of a block.
struct Block(String);

impl Block {
    fn title(&mut self, text: &str, fill: char) {
        let pad = WIDTH.saturating_sub(text.chars().count());
        let fill = |count: usize| fill.to_string().repeat(count);
        self.0.extend([fill(pad / 2).as_str(), text, &fill(pad - pad / 2), "\n"]);
    }

    fn row(&mut self, label: &str, value: impl Display) {
        let line = format!("{label:<40} {:<10}\n", value.to_string());
        self.0.push_str(&line);
    }

    fn decimal(&mut self, label: &str, value: f64) {
        self.row(label, format_args!("{value:.2}"));
    }

    fn times(&mut self, kind: MetricKind, summary: &Summary) {
        let (title, name) = kind.title();
        self.title(title, '-');
        self.decimal(&format!("Mean {name} (ms):"), summary.mean);
        self.decimal(&format!("Median {name} (ms):"), summary.median);
        for &(percentile, value) in &summary.percentiles {
            self.decimal(&format!("P{} {name} (ms):", percentile_word(percentile)), value);
        }
    }
}

/// `99`, `99.9`.
pub(crate) fn percentile_word(percentile: f64) -> String {
    let text = python_text::float(percentile);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl BenchOutcome {
    /// The block of results of the client that is reproduced, with a line break at its end.
    pub fn result_block(&self) -> String {
        let (settings, metrics) = (&self.settings, &self.metrics);
        let compat = settings.compat;
        let mut block = Block(String::new());
        block.title(" Serving Benchmark Result ", '=');
        block.row("Successful requests:", metrics.completed);
        if compat >= Compat::V0_32 {
            block.row("Failed requests:", metrics.failed);
        }
        if let Some(limit) = settings.max_concurrency {
            block.row("Maximum request concurrency:", limit);
        }
        if let Some(rate) = settings.request_rate {
            block.decimal("Request rate configured (RPS):", rate);
        }
        block.decimal("Benchmark duration (s):", self.duration);
        block.row("Total input tokens:", metrics.total_input_tokens);
        block.row("Total generated tokens:", metrics.total_output_tokens);
        block.decimal("Request throughput (req/s):", metrics.request_throughput);
        if let Some(goodput) = metrics.request_goodput {
            block.decimal("Request goodput (req/s):", goodput);
        }
        block.decimal("Output token throughput (tok/s):", metrics.output_throughput);
        if compat >= Compat::V0_11 {
            let peak = metrics.max_output_tokens_per_s;
            block.decimal("Peak output token throughput (tok/s):", peak);
            block.decimal("Peak concurrent requests:", metrics.max_concurrent_requests as f64);
        }
        let total = if compat >= Compat::V0_32 {
            "Total token throughput (tok/s):"
        } else {
            "Total Token throughput (tok/s):"
        };
        block.decimal(total, metrics.total_token_throughput);
        for kind in self.reported_metrics() {
            block.times(kind, metrics.summary(kind));
        }
        block.title("", '=');
        block.0
    }

    /// Metrics with a section of their own, in order. Queueing is told apart by the newer client
    /// alone, and only where there can be any.
    pub(crate) fn reported_metrics(&self) -> impl Iterator<Item = MetricKind> {
        let settings = &self.settings;
        let limited = settings.compat >= Compat::V0_32 && settings.max_concurrency.is_some();
        MetricKind::ALL.into_iter().filter(move |kind| {
            settings.percentile_metrics.contains(kind)
                && match kind {
                    MetricKind::Queue => limited,
                    MetricKind::E2elWithQueue => limited && settings.request_rate.is_some(),
                    _ => true,
                }
        })
    }
}

impl MetricKind {
    /// Heading of the section, and the name in its lines.
    fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Ttft => ("Time to First Token", "TTFT"),
            Self::Tpot => ("Time per Output Token (excl. 1st token)", "TPOT"),
            Self::Itl => ("Inter-token Latency", "ITL"),
            Self::E2el => ("End-to-end Latency", "E2EL"),
            Self::Queue => ("Client-side Queueing", "Client Queue Time"),
            Self::E2elWithQueue => {
                ("Queue-inclusive End-to-end Latency", "E2EL incl. Client Queue")
            }
        }
    }
}
