//! A report as comma-separated values: one record per checkpoint, load and side.

use std::io;

use super::{Block, Report, Row, lines::LINES};

const FACTS: [(&str, &str); 21] = [
    ("failed", "/failed"),
    ("batch", "/floor/shape/batch"),
    ("context", "/floor/shape/context"),
    ("bytes_per_step", "/floor/bytes_per_step"),
    ("bytes_per_token", "/floor/bytes_per_token"),
    ("bytes_per_step_even_experts", "/floor/bytes_per_step_even"),
    ("step_ms", "/step_ms"),
    ("nominal_floor_ms", "/floor/nominal_ms"),
    ("practical_floor_ms", "/floor/practical_ms"),
    ("practical_floor_even_experts_ms", "/floor/practical_even_ms"),
    ("nominal_share", "/floor/nominal_share"),
    ("practical_share", "/floor/practical_share"),
    ("implied_gbps", "/floor/implied_gbps"),
    ("cold_ttft_ms", "/prompt_cache/cold/ttft/mean"),
    ("warm_ttft_ms", "/prompt_cache/warm/ttft/mean"),
    ("p999_gap_ms", "/jitter/p999_ms"),
    ("longest_gap_ms", "/jitter/longest_ms"),
    ("empty_answers", "/outputs/empty"),
    ("repeating_answers", "/outputs/repeating"),
    ("joules", "/energy/joules"),
    ("tokens_per_joule", "/energy/tokens_per_joule"),
];
const WORDS: [(&str, &str); 2] =
    [("verdict", "/floor/verdict"), ("prefix_cache", "/prompt_cache/state")];

/// Writes all records, with a first one of names.
///
/// # Errors
/// When `out` fails.
pub fn write(report: &Report, out: impl io::Write) -> io::Result<()> {
    let mut writer = ::csv::Writer::from_writer(out);
    let lines = LINES.iter().map(|line| line.pointer[1..].replace('/', "_"));
    let names = ["model", "load", "figures"].into_iter().map(str::to_owned).chain(lines);
    let facts = FACTS.iter().chain(&WORDS).map(|(name, _)| (*name).to_owned());
    writer.write_record(names.chain(facts))?;
    for row in &report.rows {
        for side in report.sides() {
            if let Some(block) = row.side(side) {
                writer.write_record(record(row, report.name(side), block)?)?;
            }
        }
    }
    writer.flush()
}

fn record(row: &Row, name: &str, block: &Block) -> io::Result<Vec<String>> {
    let json = serde_json::to_value(block)?;
    let value = |pointer: &str| match json.pointer(pointer) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let figures = LINES.iter().map(|line| format!("/figures{}", line.pointer));
    let facts = FACTS.iter().chain(&WORDS).map(|(_, pointer)| (*pointer).to_owned());
    let head = [row.model.as_str(), row.load.key(), name].map(str::to_owned);
    Ok(head.into_iter().chain(figures.chain(facts).map(|pointer| value(&pointer))).collect())
}
