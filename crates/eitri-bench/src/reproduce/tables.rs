//! From results to a report beside the published figures.

use super::{Plan, RowPlan, RowResult, Scale};
use crate::report::{
    Block, Device, Load, Machine, ModelBytes, ModelledRun, Origin, PublishedRow, PublishedTables,
    Reference, Report, Row, Side,
};

/// What is known of a published checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Its name.
    pub model: String,
    /// Sizes as its files have them.
    pub stored: ModelBytes,
    /// Sizes as a server of ours holds them on the device that measures; those of a stand-in are not
    /// known here.
    pub in_memory: Option<ModelBytes>,
}

/// Where our figures come from.
#[derive(Debug)]
pub enum Ours<'a> {
    /// They were measured on this machine.
    Measured {
        /// One per row of the plan.
        results: &'a [RowResult],
        /// What measured.
        machine: Machine,
        /// Its limits.
        device: Device,
    },
    /// They are computed for this device.
    Modelled(Device),
}

/// The report of a plan. Published figures are judged by the published device and the bytes of the
/// files.
pub fn report(
    plan: &Plan,
    tables: &PublishedTables,
    published_device: &Device,
    checkpoints: &[Checkpoint],
    ours: &Ours<'_>,
) -> Report {
    let mut rows = Vec::new();
    for row_plan in &plan.rows {
        let published = tables.rows.iter().find(|row| row.model == row_plan.model);
        let checkpoint = checkpoints.iter().find(|known| known.model == row_plan.model);
        for load in Load::ALL {
            let theirs = published.zip(checkpoint).and_then(|(row, known)| {
                Block::published(row, load, &known.stored, published_device)
            });
            let mut row = match ours {
                Ours::Modelled(device) => {
                    let block = published.zip(checkpoint).and_then(|(row, known)| {
                        modelled(row_plan, row, load)?.block(&known.stored, device)
                    });
                    Row::new(&row_plan.model, load, theirs, block)
                }
                Ours::Measured { results, device, .. } => {
                    let result = results.iter().find(|result| result.plan == *row_plan);
                    measured(row_plan, load, theirs, result, checkpoint, device)
                }
            };
            if plan.scale == Scale::Tiny {
                // Nothing follows from a quotient of different models.
                row.ratios = None;
            }
            rows.push(row);
        }
    }
    let origin = match ours {
        Ours::Modelled(_) => Origin::Modelled,
        Ours::Measured { .. } => Origin::Measured,
    };
    let (title, machine, device) = match ours {
        Ours::Modelled(device) => (format!("Qwen3 on {}, modelled", device.name), None, device),
        Ours::Measured { machine, device, .. } => {
            let what = match plan.scale {
                Scale::Published => "Qwen3",
                Scale::Tiny => "Rehearsal with tiny checkpoints",
            };
            (format!("{what} on {}", device.name), Some(machine.clone()), device)
        }
    };
    Report {
        title,
        date: None,
        machine,
        device: device.clone(),
        ours: origin.name().to_owned(),
        reference: Some(Reference {
            name: Origin::Published.name().to_owned(),
            source: tables.source.clone(),
            device: published_device.clone(),
        }),
        remarks: remarks(plan, tables, ours),
        rows,
    }
}

fn modelled(plan: &RowPlan, row: &PublishedRow, load: Load) -> Option<ModelledRun> {
    let load_plan = plan.loads.iter().find(|known| known.load == load)?;
    Some(ModelledRun {
        load,
        num_prompts: load_plan.num_prompts,
        max_concurrency: load_plan.max_concurrency,
        total_input_tokens: row.figures(load).unwrap_or(&row.low).total_input_tokens,
        output_len: load_plan.output_len,
        arithmetic: row.arithmetic,
    })
}

fn measured(
    plan: &RowPlan,
    load: Load,
    published: Option<Block>,
    result: Option<&RowResult>,
    checkpoint: Option<&Checkpoint>,
    device: &Device,
) -> Row {
    let bytes = checkpoint.and_then(|known| known.in_memory);
    // Sizes are those of the checkpoint, not of what stood in for it.
    let bytes = bytes.filter(|_| result.is_some_and(|result| result.stand_in.is_none()));
    let block = result.and_then(|result| result.block(load, Side::Ours, bytes, device));
    let mut row = Row::new(&plan.model, load, published, block);
    row.remark = match result {
        None => Some("not measured".to_owned()),
        Some(result) => result.remark(load),
    };
    row
}

fn remarks(plan: &Plan, tables: &PublishedTables, ours: &Ours<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    match ours {
        Ours::Modelled(_) => remarks.push(
            "Ours are modelled, nothing ran: from bytes and operations at the device's practical rates, \
             prompts computed one at a time while nothing is decoded. Of sparse models the modelled step \
             reads the experts of evenly choosing tokens; real tokens resemble each other and read fewer."
                .to_owned(),
        ),
        Ours::Measured { .. } => remarks.push(
            "Ours are measured: per checkpoint one server with its prefix cache on, high load, then low \
             load with the same prompts, then low load with new ones."
                .to_owned(),
        ),
    }
    match plan.scale {
        Scale::Published => remarks.push(format!(
            "Prompts of {} tokens, {} generated, random data with seed {}.",
            tables.input_len, tables.output_len, tables.seed
        )),
        Scale::Tiny => remarks.push(
            "This is a rehearsal: random models of a few million parameters in the format of each \
             checkpoint, short prompts, few requests. Nothing here can be compared with what was published."
                .to_owned(),
        ),
    }
    remarks
}
