//! `eitri quantize`.

use std::{
    fmt::Write,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Result;
use eitri::{Error, QuantizeOptions, QuantizeReport};
use tokio::{signal, sync::oneshot};

use crate::{
    cli::QuantizeArgs,
    console::{self, Meter, bytes, parameters},
};

pub(crate) fn run(arguments: &QuantizeArgs) -> Result<()> {
    let format = match arguments.group_size {
        Some(size) => arguments.to.with_group(size)?,
        None => arguments.to,
    };
    let options = QuantizeOptions {
        format,
        out: arguments.out.clone(),
        overwrite: arguments.force,
        calibrate: arguments.calibrate.clone(),
        revision: arguments.revision.clone(),
        threads: arguments.threads,
    };
    console::fetch(&arguments.model, arguments.revision.as_deref())?;
    let meter = Meter::new();
    let outcome = until_interrupted(|is_stopped| {
        eitri::quantize(&arguments.model, &options, &mut |progress| {
            meter.writing(progress);
            if is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    })?;
    meter.clear();
    let report = outcome?;
    for note in &report.notes {
        eprintln!("note: {note}");
    }
    console::print_result(&table(&report, arguments)?)
}

/// Runs `work`, which can ask whether Ctrl-C was pressed, so that it ends by itself and removes
/// what is not complete.
pub(super) fn until_interrupted<T>(
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, Error>,
) -> Result<Result<T, Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stopped = AtomicBool::new(false);
    let (finished, is_finished) = oneshot::channel::<()>();
    Ok(thread::scope(|scope| {
        scope.spawn(|| {
            runtime.block_on(async {
                tokio::select! {
                    Ok(()) = signal::ctrl_c() => stopped.store(true, Ordering::Relaxed),
                    _ = is_finished => {}
                }
            });
        });
        let outcome = work(&|| stopped.load(Ordering::Relaxed));
        drop(finished);
        outcome
    }))
}

/// Kinds of tensors with the error of each.
fn table(report: &QuantizeReport, arguments: &QuantizeArgs) -> Result<String> {
    let export = &report.export;
    let mut text = String::new();
    writeln!(
        text,
        "{:<22} {:>7} {:<11} {:>10} {:>15}",
        "weights", "number", "stored", "bytes", "relative error"
    )?;
    for row in &export.rows {
        writeln!(
            text,
            "{:<22} {:>7} {:<11} {:>10} {:>15}",
            row.kind,
            row.tensors,
            row.encoding,
            bytes(row.bytes),
            percent(row.relative_error())
        )?;
    }
    write!(
        text,
        "{}: {} ({} parameters, {:.2} bits each), relative error {}",
        arguments.out.display(),
        bytes(export.file_bytes),
        parameters(export.values()),
        8.0 * export.file_bytes as f64 / export.values().max(1) as f64,
        percent(export.relative_error())
    )?;
    Ok(text)
}

/// Root of the mean squared error over that of the weights.
fn percent(error: f64) -> String {
    if error == 0.0 { "none".to_owned() } else { format!("{:.3} %", 100.0 * error) }
}
