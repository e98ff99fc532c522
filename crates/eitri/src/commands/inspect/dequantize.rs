//! `eitri inspect --dequantize`.

use std::{ops::ControlFlow, path::Path};

use anyhow::Result;
use eitri::DequantiseReport;
use serde_json::json;

use super::patterns;
use crate::{
    cli::InspectArgs,
    commands::quantize::until_interrupted,
    console::{self, Meter, bytes},
};

pub(super) fn run(checkpoint: &Path, out: &Path, arguments: &InspectArgs) -> Result<()> {
    let meter = Meter::new();
    let outcome = until_interrupted(|is_stopped| {
        eitri::dequantise(checkpoint, out, arguments.plain_type(), &mut |progress| {
            meter.dequantizing(progress);
            if is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    })?;
    meter.clear();
    let report = outcome?;
    let text = if arguments.json { as_json(&report) } else { as_text(&report, out) };
    console::print_result(&text)
}

fn as_text(report: &DequantiseReport, out: &Path) -> String {
    let stored = report.stored.iter().map(|(name, count)| format!("{count} of {name}"));
    let mut text = format!(
        "{}: {}; tensors: {}",
        out.display(),
        bytes(report.file_bytes),
        stored.collect::<Vec<_>>().join(", ")
    );
    for (pattern, count) in patterns(&report.left_out) {
        text.push_str(&format!("\nleft out: {count:>5} {pattern}"));
    }
    text
}

fn as_json(report: &DequantiseReport) -> String {
    let stored = report.stored.iter().map(|&(name, count)| (name.to_owned(), json!(count)));
    let value = json!({
        "file_bytes": report.file_bytes,
        "tensors": serde_json::Map::from_iter(stored),
        "left_out": report.left_out,
    });
    format!("{value:#}")
}
