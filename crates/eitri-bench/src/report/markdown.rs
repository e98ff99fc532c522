//! A report as Markdown.

use std::fmt::{self, Write};

use serde_json::Value;

use super::{
    Block, Load, Report, Row, Side,
    columns::{Column, physics},
    lines::{LINES, number},
};

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
            for (row, whose, warning) in warnings {
                writeln!(out, "- **{}**, {}, {whose}: {}", row.model, row.load, warning.text)?;
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

    fn write_summary(&self, out: &mut String, load: Load) -> fmt::Result {
        let mut title = load.title().to_owned();
        title[..1].make_ascii_uppercase();
        writeln!(out, "\n## {title}\n")?;
        let columns = Column::all(self.report);
        let headings: Vec<&str> = columns.iter().map(|column| column.heading.as_str()).collect();
        writeln!(out, "| checkpoint | {} |", headings.join(" | "))?;
        let rules: Vec<&str> =
            columns.iter().map(|column| if column.is_words { "---" } else { "--:" }).collect();
        writeln!(out, "|---|{}|", rules.join("|"))?;
        for (index, row) in self.report.rows_of(load) {
            write!(out, "| {} |", row.model)?;
            for column in &columns {
                let cell = column.show(self.report, self.json, index);
                let space = if cell.note.is_empty() { "" } else { " " };
                write!(out, " {}{space}{} |", cell.text, cell.note)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_block(&self, out: &mut String, index: usize, row: &Row) -> fmt::Result {
        writeln!(out, "\n### {}, {}\n", row.model, row.load)?;
        if let Some(remark) = &row.remark {
            writeln!(out, "{remark}\n")?;
        }
        for block in [&row.reference, &row.ours].into_iter().flatten() {
            write_server(out, block)?;
        }
        let sides: Vec<Side> = self.report.sides().collect();
        let line = |out: &mut String, label: &str, cell: &dyn Fn(Side) -> String| {
            let cells: Vec<String> = sides.iter().map(|&side| cell(side)).collect();
            writeln!(out, "| {label} | {} |", cells.join(" | "))
        };
        line(out, "", &|side| self.report.name(side).to_owned())?;
        writeln!(out, "|---|{}", "--:|".repeat(sides.len()))?;
        let figures = LINES.iter().map(|l| (l.label, format!("/figures{}", l.pointer), l.decimals));
        let facts = FACTS.iter().map(|&(label, pointer, d)| (label, pointer.to_owned(), d));
        for (label, pointer, decimals) in figures.chain(facts) {
            line(out, label, &|side| {
                number(self.json, &format!("/rows/{index}/{}{pointer}", side.key()), decimals)
            })?;
        }
        line(out, "Prefix cache", &|side| {
            row.side(side).map_or("–", |block| block.prompt_cache.state.name()).to_owned()
        })?;
        line(out, "By physics", &|side| physics(row.side(side)).to_owned())
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
        if !parts.is_empty() {
            facts.push(format!("Measured on: {}.", parts.join(", ")));
        }
    }
    let ours = format!("What is headed “{}” is", report.ours);
    let mut judges = vec![(ours, &report.device)];
    if let Some(reference) = &report.reference {
        facts.push(format!("What is headed “{}”: {}.", reference.name, reference.source));
        if reference.device == report.device {
            judges = vec![("All figures are".to_owned(), &report.device)];
        } else {
            judges
                .insert(0, (format!("What is headed “{}” is", reference.name), &reference.device));
        }
    }
    for (whose, device) in judges {
        let limits = [("nominal", device.nominal), ("practical", device.practical)];
        let limits: Vec<String> = limits
            .into_iter()
            .filter_map(|(kind, limits)| Some(format!("{kind} {:.0} GB/s", limits?.gbps)))
            .collect();
        facts.push(format!(
            "{whose} judged by {}: {} ({}).",
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
