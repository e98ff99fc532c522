//! The lines of a result block: label, place in a [`Figures`](super::Figures) as JSON, decimals.

/// One line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// As `vllm bench serve` prints it.
    pub(super) label: &'static str,
    /// JSON pointer within figures.
    pub(super) pointer: &'static str,
    /// Digits behind the point.
    pub(super) decimals: usize,
}

const fn line(label: &'static str, pointer: &'static str, decimals: usize) -> Line {
    Line { label, pointer, decimals }
}

/// All lines, in vLLM's order.
pub(super) const LINES: [Line; 17] = [
    line("Successful requests", "/completed", 0),
    line("Maximum request concurrency", "/max_concurrency", 0),
    line("Benchmark duration (s)", "/duration", 2),
    line("Total input tokens", "/total_input_tokens", 0),
    line("Total generated tokens", "/total_output_tokens", 0),
    line("Request throughput (req/s)", "/request_throughput", 2),
    line("Output token throughput (tok/s)", "/output_throughput", 2),
    line("Total Token throughput (tok/s)", "/total_token_throughput", 2),
    line("Mean TTFT (ms)", "/ttft/mean", 2),
    line("Median TTFT (ms)", "/ttft/median", 2),
    line("P99 TTFT (ms)", "/ttft/p99", 2),
    line("Mean TPOT (ms)", "/tpot/mean", 2),
    line("Median TPOT (ms)", "/tpot/median", 2),
    line("P99 TPOT (ms)", "/tpot/p99", 2),
    line("Mean ITL (ms)", "/itl/mean", 2),
    line("Median ITL (ms)", "/itl/median", 2),
    line("P99 ITL (ms)", "/itl/p99", 2),
];

/// A number of the report by its place; a dash where there is none.
pub(super) fn number(report: &serde_json::Value, pointer: &str, decimals: usize) -> String {
    match report.pointer(pointer).and_then(serde_json::Value::as_f64) {
        Some(number) => format!("{number:.decimals$}"),
        None => "–".to_owned(),
    }
}
