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
    let written = format!(
        "{}: {}; tensors: {}",
        out.display(),
        bytes(report.file_bytes),
        stored.collect::<Vec<_>>().join(", ")
    );
    let left_out = patterns(&report.left_out).into_iter();
    let left_out = left_out.map(|(pattern, count)| format!("left out: {count:>5} {pattern}"));
    [written].into_iter().chain(left_out).collect::<Vec<_>>().join("\n")
}

fn as_json(report: &DequantiseReport) -> String {
    let stored = report.stored.iter().map(|&(name, count)| (name.to_owned(), json!(count)));
    let value = json!({
        "file_bytes": report.file_bytes,
        "tensors": stored.collect::<serde_json::Map<_, _>>(),
        "left_out": report.left_out,
    });
    format!("{value:#}")
}
