//! `eitri bench here`.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, bail, ensure};
use eitri::{Engine, KvDtype};
use eitri_bench::reproduce::{Checkpoint, Loads, Store, here_report, reproduce};

use super::{
    beside::OtherServer,
    facts, in_process,
    reproduce::{finish, show},
    rig::{Checkpoints, LocalRig, Prompts},
};
use crate::cli::HereArgs;

pub(super) fn run(arguments: &HereArgs) -> Result<()> {
    let loads = Loads {
        input_len: arguments.input_len,
        output_len: arguments.output_len,
        clients: arguments.max_concurrency,
        high: arguments.num_prompts,
        low: arguments.num_prompts_low,
    };
    ensure!(
        loads.low <= loads.high,
        "--num-prompts-low {} is above --num-prompts {}, whose prompts it repeats",
        loads.low,
        loads.high
    );
    let other = arguments
        .beside
        .as_deref()
        .map(|command| OtherServer::parse(command, arguments.beside_name.as_deref()))
        .transpose()?;
    let names: Vec<String> =
        arguments.models.iter().map(|model| name(model)).collect::<Result<_>>()?;
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        bail!("two models have the same name: {}", names.join(", "));
    }
    let checkpoints = arguments
        .models
        .iter()
        .zip(&names)
        .map(|(model, name)| checkpoint(model, name))
        .collect::<Result<Vec<_>>>()?;
    let store = Store::open(arguments.out.join("rows"))?;
    let mut rig = LocalRig {
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        checkpoints: Checkpoints::Given(
            names.iter().cloned().zip(arguments.models.clone()).collect(),
        ),
        prompts: Prompts::ToTheEnd,
        serve_flags: arguments.serve_flags.clone(),
        logs: arguments.out.join("rows"),
        other: other.clone(),
        turn: 0,
    };
    // Before anything else runs.
    let (machine, device) = facts::this_device(in_process::threads(None))?;
    let rows = loads.rows(names.iter().map(String::as_str));
    let results = reproduce(&rows, &store, &mut rig, show)?;
    let other = other.as_ref().map(|other| other.name.as_str());
    let report = here_report(&loads, &results, &checkpoints, machine, device, other);
    finish(&report, &arguments.out)?;
    let failed = results.iter().filter(|result| result.error.is_some()).count();
    if failed > 0 {
        let total = rows.len();
        bail!(
            "{failed} of {total} models could not be measured; the same command tries them again"
        );
    }
    Ok(())
}

/// The file's name without `.gguf`, or the directory's.
fn name(model: &Path) -> Result<String> {
    let stem = match model.extension() {
        Some(ending) if ending.eq_ignore_ascii_case("gguf") => model.file_stem(),
        _ => model.file_name(),
    };
    match stem.and_then(|stem| stem.to_str()) {
        Some(name) => Ok(name.to_owned()),
        None => bail!("{} has no name of its own: give the directory by name", model.display()),
    }
}

fn checkpoint(model: &Path, name: &str) -> Result<Checkpoint> {
    let planned = Engine::builder().model(model).plan()?;
    let info = planned.model_info();
    Ok(Checkpoint {
        model: name.to_owned(),
        stored: facts::stored(info, KvDtype::Bf16),
        in_memory: Some(facts::in_memory(info, KvDtype::Bf16)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_after_their_files() {
        for (model, expected) in
            [("a/b-Q4_0.gguf", "b-Q4_0"), ("a/Qwen3-0.6B/", "Qwen3-0.6B"), ("robot", "robot")]
        {
            assert_eq!(name(Path::new(model)).unwrap(), expected);
        }
        assert!(name(Path::new("..")).unwrap_err().to_string().contains("by name"));
    }
}
