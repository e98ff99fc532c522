//! Any models on this machine, beside another server where there is one.

use super::{Checkpoint, LoadPlan, RowPlan, RowResult};
use crate::report::{Arithmetic, Device, Load, Machine, Reference, Report, Row, Side};

/// How much is asked of each model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loads {
    /// Tokens of each prompt.
    pub input_len: usize,
    /// Tokens generated for each.
    pub output_len: usize,
    /// Clients of the high load.
    pub clients: usize,
    /// Requests of the high load.
    pub high: usize,
    /// Requests of each low load; at most those of the high load, whose prompts they repeat.
    pub low: usize,
}

impl Loads {
    /// One row per model, each at high load, at low load with prompts of the high load, and at low
    /// load with new ones.
    pub fn rows<'a>(&self, models: impl IntoIterator<Item = &'a str>) -> Vec<RowPlan> {
        let row = |model: &str| RowPlan {
            model: model.to_owned(),
            arithmetic: Arithmetic::default(),
            loads: Load::ALL.map(|load| self.plan(load)).to_vec(),
        };
        models.into_iter().map(row).collect()
    }

    fn plan(&self, load: Load) -> LoadPlan {
        let is_high = load == Load::High;
        let cold = load == Load::LowCold;
        LoadPlan {
            load,
            num_prompts: if is_high { self.high } else { self.low },
            max_concurrency: Some(if is_high { self.clients } else { 1 }),
            input_len: self.input_len,
            output_len: self.output_len,
            seed: u64::from(cold),
            ready_check: !cold,
        }
    }
}

/// The report of such rows. Both sides are judged by the bandwidth of this machine: ours by the bytes
/// that lie in memory, those of the server beside us, of which only the files are known, by theirs.
pub fn here_report(
    loads: &Loads,
    results: &[RowResult],
    checkpoints: &[Checkpoint],
    machine: Machine,
    device: Device,
    reference: Option<&str>,
) -> Report {
    let mut rows = Vec::new();
    for result in results {
        let model = &result.plan.model;
        let known = checkpoints.iter().find(|known| known.model == *model);
        for load in Load::ALL {
            let in_memory = known.and_then(|known| known.in_memory);
            let ours = result.block(load, Side::Ours, in_memory, &device);
            let stored = known.map(|known| known.stored);
            let theirs = result.block(load, Side::Reference, stored, &device);
            let mut row = Row::new(model, load, theirs, ours);
            row.remark = result.remark(load);
            rows.push(row);
        }
    }
    let mut remarks = vec![format!(
        "All is measured, per model on one server with its prefix cache on: {} requests of {} clients, \
         then {} of one client with prompts of the former, then {} with new ones; {} tokens in, {} \
         out, random data.",
        loads.high, loads.clients, loads.low, loads.low, loads.input_len, loads.output_len
    )];
    if reference.is_some() {
        remarks.push(
            "Both servers run at the same time and are measured in turns with the same prompts; which \
             one comes first changes from load to load."
                .to_owned(),
        );
        remarks.push(
            "Small models often answer random prompts with one passage again and again. Such answers are \
             warned of only where one server gives them and the other does not."
                .to_owned(),
        );
    }
    Report {
        title: format!("Models on {}", device.name),
        date: None,
        machine: Some(machine),
        ours: "eitri".to_owned(),
        reference: reference.map(|name| Reference {
            name: name.to_owned(),
            source: "measured by the same client".to_owned(),
            device: device.clone(),
        }),
        device,
        remarks,
        rows,
    }
}
