//! A report as Markdown.

use std::fmt::{self, Write};

use serde_json::Value;

use super::{Block, Load, Report, Row, Verdict, lines::LINES, lines::number};

/// The whole report.
///
/// # Errors
/// Only when a number is not one that JSON knows.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let json = serde_json::to_value(report)?;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = Page { report, json: &json }.write(&mut out);
    Ok(out)
}

/// What physics says of a block, in a word or two.
pub(super) fn physics(block: Option<&Block>) -> &'static str {
    match block.and_then(|block| block.floor).map(|floor| floor.verdict) {
        None => "not judged",
        Some(Verdict::Possible) => "possible",
        Some(Verdict::FitsInCache) => "fits in cache",
        Some(Verdict::BeatsPractical) => "BEATS PRACTICAL FLOOR",
        Some(Verdict::BeatsNominal) => "IMPOSSIBLE",
    }
}

struct Page<'a> {
    report: &'a Report,
    json: &'a Value,
}

impl Page<'_> {
    fn write(&self, out: &mut String) -> fmt::Result {
        let report = self.report;
        writeln!(out, "# {}\n", report.title)?;
        for line in facts(report) {
            writeln!(out, "- {line}")?;
        }
        let warnings = report.warnings();
        if !warnings.is_empty() {
            writeln!(out, "\n## Not to be believed as they stand\n")?;
            for (row, origin, warning) in warnings {
                let (origin, text) = (origin.name(), warning.text);
                writeln!(out, "- **{}**, {}, {origin}: {text}", row.model, row.load)?;
            }
        }
        for load in Load::ALL {
            if self.report.rows_of(load).next().is_some() {
                self.write_summary(out, load)?;
            }
        }
        writeln!(out, "\n## Result blocks")?;
        for (index, row) in report.rows.iter().enumerate() {
            self.write_block(out, index, row)?;
        }
        Ok(())
    }

    fn cell(&self, row: usize, pointer: &str, decimals: usize) -> String {
        number(self.json, &format!("/rows/{row}{pointer}"), decimals)
    }

    fn write_summary(&self, out: &mut String, load: Load) -> fmt::Result {
        let mut title = load.title().to_owned();
        title[..1].make_ascii_uppercase();
        let ours = self.report.our_origin().name();
        writeln!(out, "\n## {title}\n")?;
        writeln!(
            out,
            "| checkpoint | tok/s published | {ours} | ratio | step ms published | {ours} | nominal floor \
             | practical floor | nominal floor by published | TTFT ms published | {ours} | published \
             is | {ours} is |"
        )?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|---|")?;
        for (index, row) in self.report.rows_of(load) {
            let cell = |pointer: &str, decimals| self.cell(index, pointer, decimals);
            // The floors of the published figures where there are any: they are judged by them.
            let side = if row.published.is_some() { "/published" } else { "/ours" };
            let ttft = |side: &str, block: Option<&Block>| {
                let state = block.map_or("", |block| block.prompt_cache.state.name());
                format!("{} {state}", cell(&format!("{side}/figures/ttft/mean"), 1))
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.model,
                cell("/published/figures/output_throughput", 2),
                cell("/ours/figures/output_throughput", 2),
                cell("/ratios/output_throughput", 2),
                cell("/published/step_ms", 2),
                cell("/ours/step_ms", 2),
                cell(&format!("{side}/floor/nominal_ms"), 2),
                cell(&format!("{side}/floor/practical_ms"), 2),
                cell("/published/floor/nominal_share", 2),
                ttft("/published", row.published.as_ref()),
                ttft("/ours", row.ours.as_ref()),
                physics(row.published.as_ref()),
                physics(row.ours.as_ref()),
            )?;
        }
        Ok(())
    }

    fn write_block(&self, out: &mut String, index: usize, row: &Row) -> fmt::Result {
        writeln!(out, "\n### {}, {}\n", row.model, row.load)?;
        if let Some(remark) = &row.remark {
            writeln!(out, "{remark}\n")?;
        }
        if let Some(ours) = &row.ours {
            write_server(out, ours)?;
        }
        let origin = |block: &Option<Block>| block.as_ref().map_or("–", |b| b.origin.name());
        writeln!(out, "| | {} | {} |", origin(&row.published), origin(&row.ours))?;
        writeln!(out, "|---|--:|--:|")?;
        let both = |pointer: &str, decimals| {
            ["published", "ours"]
                .map(|side| self.cell(index, &format!("/{side}{pointer}"), decimals))
        };
        for line in LINES {
            let [published, ours] = both(&format!("/figures{}", line.pointer), line.decimals);
            writeln!(out, "| {} | {published} | {ours} |", line.label)?;
        }
        for (label, pointer, decimals) in FACTS {
            let [published, ours] = both(pointer, decimals);
            writeln!(out, "| {label} | {published} | {ours} |")?;
        }
        let states = [&row.published, &row.ours]
            .map(|block| block.as_ref().map_or("–", |block| block.prompt_cache.state.name()));
        writeln!(out, "| Prefix cache | {} | {} |", states[0], states[1])?;
        let physics = [physics(row.published.as_ref()), physics(row.ours.as_ref())];
        writeln!(out, "| By physics | {} | {} |", physics[0], physics[1])
    }
}

/// What answered, and whether that was text.
fn write_server(out: &mut String, block: &Block) -> fmt::Result {
    if let Some(command) = &block.server_command {
        write!(out, "Served by `{}`", command.join(" "))?;
        match block.server.as_ref().and_then(|server| server.version.as_ref()) {
            Some(version) => writeln!(out, ", version {version}.\n")?,
            None => writeln!(out, ".\n")?,
        }
    }
    match &block.outputs {
        Some(outputs) => writeln!(out, "Answers: {outputs}.\n"),
        None => Ok(()),
    }
}

/// Lines of a block that vLLM's has not.
pub(super) const FACTS: [(&str, &str, usize); 12] = [
    ("Bytes read per token", "/floor/bytes_per_token", 0),
    ("Step (ms)", "/step_ms", 2),
    ("Nominal floor of a step (ms)", "/floor/nominal_ms", 2),
    ("Practical floor of a step (ms)", "/floor/practical_ms", 2),
    ("Practical floor, experts chosen evenly (ms)", "/floor/practical_even_ms", 2),
    ("Nominal floor by step", "/floor/nominal_share", 2),
    ("Practical floor by step", "/floor/practical_share", 2),
    ("Mean cold TTFT (ms)", "/prompt_cache/cold/ttft/mean", 2),
    ("Mean warm TTFT (ms)", "/prompt_cache/warm/ttft/mean", 2),
    ("P99.9 ITL (ms)", "/jitter/p999_ms", 2),
    ("Longest gap (ms)", "/jitter/longest_ms", 2),
    ("Output tokens per joule", "/energy/tokens_per_joule", 3),
];

/// What holds for all rows, a sentence each.
pub(super) fn facts(report: &Report) -> Vec<String> {
    let mut facts = report.remarks.clone();
    if let Some(machine) = &report.machine {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(machine.name.clone());
        parts.extend(machine.processors.map(|count| format!("{count} processors")));
        parts.extend(
            machine
                .memory_bytes
                .map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))),
        );
        parts.extend(machine.power_mode.as_ref().map(|mode| format!("power mode {mode}")));
        parts.extend(machine.system.as_ref().map(|release| format!("kernel {release}")));
        facts.push(format!("Measured on: {}.", parts.join(", ")));
    }
    facts.push(format!("Published figures: {}.", report.published_source));
    for (whose, device) in [("Published", &report.published_device), ("Ours", &report.device)] {
        let limits = [("nominal", device.nominal), ("practical", device.practical)];
        let limits: Vec<String> = limits
            .into_iter()
            .filter_map(|(kind, limits)| Some(format!("{kind} {:.0} GB/s", limits?.gbps)))
            .collect();
        facts.push(format!(
            "{whose} are judged by {}: {} ({}).",
            device.name,
            limits.join(", "),
            device.source
        ));
    }
    facts.push(
        "A step is the mean TPOT, or with several clients the median ITL, unless tokens came in bunches. \
         Floors are the bytes that a step must read by the bandwidth; of sparse models with all \
         sequences choosing the same experts, which is the least."
            .to_owned(),
    );
    facts.extend(report.date.as_ref().map(|date| format!("Made on {date}.")));
    facts
}
