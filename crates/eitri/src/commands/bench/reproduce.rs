//! `eitri bench reproduce`.

use std::{fmt::Write, path::Path};

use anyhow::{Result, bail};
use eitri::{KvDtype, ModelInfo, PUBLISHED};
use eitri_bench::{
    report::{Device, PublishedTables, Report},
    reproduce::{Checkpoint, Ours, Plan, RowEvent, Scale, Store, report, reproduce},
};

use super::{
    facts, in_process,
    rig::{Checkpoints, LocalRig, Prompts},
    tiny::TinyCheckpoints,
};
use crate::{
    cli::{ModelledDevice, ReproduceArgs},
    console,
};

pub(super) fn run(arguments: &ReproduceArgs) -> Result<()> {
    let tables = PublishedTables::jetson_thor()?;
    let scale = if arguments.scale.is_some() { Scale::Tiny } else { Scale::Published };
    let plan = Plan::new(&tables, scale, &arguments.only);
    if plan.rows.is_empty() {
        let names: Vec<&str> = tables.rows.iter().map(|row| row.model.as_str()).collect();
        bail!("--only names none of the checkpoints {}", names.join(", "));
    }
    let thor = Device::jetson_thor();
    let checkpoints = checkpoints()?;
    if let Some(ModelledDevice::Thor) = arguments.modelled {
        let ours = Ours::Modelled(thor.clone());
        return finish(&report(&plan, &tables, &thor, &checkpoints, &ours), &arguments.out);
    }
    let store = Store::open(arguments.out.join("rows"))?;
    let mut rig = LocalRig {
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        checkpoints: match &arguments.models_dir {
            Some(directory) => Checkpoints::Directory(directory.clone()),
            None => Checkpoints::Tiny(TinyCheckpoints::new(arguments.out.join("checkpoints"))),
        },
        prompts: if scale == Scale::Tiny { Prompts::ToTheEnd } else { Prompts::AsPublished },
        serve_flags: arguments.serve_flags.clone(),
        logs: arguments.out.join("rows"),
        other: None,
        turn: 0,
    };
    // Before anything else runs.
    let (machine, device) = facts::this_device(in_process::threads(None))?;
    let results = reproduce(&plan.rows, &store, &mut rig, show)?;
    let ours = Ours::Measured { results: &results, machine, device };
    let report = report(&plan, &tables, &thor, &checkpoints, &ours);
    finish(&report, &arguments.out)?;
    let failed = results.iter().filter(|result| result.error.is_some()).count();
    if failed > 0 {
        bail!(
            "{failed} of {} checkpoints could not be measured; the same command tries them again",
            plan.rows.len()
        );
    }
    Ok(())
}

/// Sizes of the published checkpoints, as their configurations tell.
fn checkpoints() -> Result<Vec<Checkpoint>> {
    PUBLISHED
        .iter()
        .map(|published| {
            let info = ModelInfo::of_published(published)?;
            Ok(Checkpoint {
                model: published.name.to_owned(),
                stored: facts::stored(&info, KvDtype::Bf16),
                in_memory: Some(facts::in_memory(&info, KvDtype::Bf16)),
            })
        })
        .collect()
}

pub(super) fn show(event: RowEvent<'_>) {
    match event {
        RowEvent::Kept(row) => eprintln!("{}: measured before", row.model),
        RowEvent::Starting(row) => eprintln!("{}: starting", row.model),
        RowEvent::Measuring(row, load) => eprintln!("{}: {load}", row.model),
        RowEvent::Failed(row, why) => eprintln!("{}: not measured: {why}", row.model),
    }
}

/// Writes the report and prints what is to be known first.
pub(super) fn finish(report: &Report, out: &Path) -> Result<()> {
    let files = report.write(out)?;
    let mut text = report.title.clone();
    for (row, whose, warning) in report.warnings() {
        write!(text, "\n!!! {}, {}, {whose}: {}", row.model, row.load, warning.text)?;
    }
    for file in files {
        write!(text, "\nwritten: {}", file.display())?;
    }
    console::print_result(&text)
}
