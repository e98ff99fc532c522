//! The published tables, measured again: every checkpoint on a server of its own, first at high load,
//! then at low load, whose prompts are then in the server's prefix cache as they were in the published
//! runs, then at low load with prompts that are not.

mod here;
mod plan;
mod store;
mod tables;

use std::fmt::Display;

use serde::{Deserialize, Serialize};

pub use here::{Loads, here_report};
pub use plan::{LoadPlan, Plan, RowPlan, Scale};
pub use store::{Store, StoreError};
pub use tables::{Checkpoint, Ours, report};

use crate::{
    outcome::BenchOutcome,
    report::{Block, Device, Energy, Load, ModelBytes, Side},
};

/// Starts servers and measures them.
pub trait Rig {
    /// A server that runs until it is dropped.
    type Server;
    /// Why something could not be done; it is noted beside the row, and the next row follows.
    type Error: Display;

    /// Starts a server for a checkpoint.
    ///
    /// # Errors
    /// When there is no such checkpoint or the server does not start.
    fn start(&mut self, row: &RowPlan) -> Result<Self::Server, Self::Error>;

    /// Puts a load on it, and on the server beside it where there is one.
    ///
    /// # Errors
    /// When nothing could be measured. Requests that fail are part of the outcome.
    fn measure(
        &mut self,
        server: &mut Self::Server,
        load: &LoadPlan,
    ) -> Result<Measurement, Self::Error>;

    /// What the server is.
    fn describe(&self, server: &Self::Server) -> Description;
}

/// What a server is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// How it was started.
    pub command: Vec<String>,
    /// What stands in for the checkpoint where that is not itself.
    pub stand_in: Option<String>,
    /// How the server beside it was started.
    pub reference_command: Option<Vec<String>>,
}

/// One load.
#[derive(Debug)]
pub struct Measurement {
    /// What the client saw.
    pub outcome: BenchOutcome,
    /// Joules of the run, where the machine tells.
    pub joules: Option<f64>,
    /// What the client saw of the server beside it.
    pub reference: Option<BenchOutcome>,
}

/// All loads of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// What was to be run.
    pub plan: RowPlan,
    /// What stood in for the checkpoint.
    pub stand_in: Option<String>,
    /// What was measured, in order.
    pub blocks: Vec<(Load, Block)>,
    /// The same of the server beside it.
    #[serde(default)]
    pub reference: Vec<(Load, Block)>,
    /// Why the rest is missing.
    pub error: Option<String>,
}

impl RowResult {
    fn new(plan: RowPlan) -> Self {
        Self { plan, stand_in: None, blocks: Vec::new(), reference: Vec::new(), error: None }
    }

    /// What was measured at a load, judged by `bytes` on `device` where those are known.
    fn block(
        &self,
        load: Load,
        side: Side,
        bytes: Option<ModelBytes>,
        device: &Device,
    ) -> Option<Block> {
        let blocks = match side {
            Side::Ours => &self.blocks,
            Side::Reference => &self.reference,
        };
        let (_, block) = blocks.iter().find(|(measured, _)| *measured == load)?;
        Some(match bytes {
            Some(bytes) => block.clone().judged(&bytes, device),
            None => block.clone(),
        })
    }

    /// Why a load is missing, or what was measured in place of the checkpoint.
    fn remark(&self, load: Load) -> Option<String> {
        let is_measured = self.blocks.iter().any(|(measured, _)| *measured == load);
        match &self.error {
            Some(error) if !is_measured => Some(format!("not measured: {error}")),
            _ => self.stand_in.as_ref().map(|name| format!("measured with a stand-in: {name}")),
        }
    }
}

/// What happens, for whoever shows it.
#[derive(Debug, Clone, Copy)]
pub enum RowEvent<'a> {
    /// The row was measured before and is taken as it is.
    Kept(&'a RowPlan),
    /// Its server is started.
    Starting(&'a RowPlan),
    /// A load begins.
    Measuring(&'a RowPlan, Load),
    /// It could not be measured.
    Failed(&'a RowPlan, &'a str),
}

/// Measures all rows of a plan that `store` does not have yet. A row is kept or repeated as a whole:
/// the low load needs a server that has seen the high load. One that fails does not keep the next from
/// being measured, and is tried again the next time.
///
/// # Errors
/// When results cannot be stored.
pub fn reproduce<R: Rig>(
    rows: &[RowPlan],
    store: &Store,
    rig: &mut R,
    mut on_event: impl FnMut(RowEvent<'_>),
) -> Result<Vec<RowResult>, StoreError> {
    let mut results = Vec::new();
    for row in rows {
        if let Some(kept) = store.row(row)? {
            on_event(RowEvent::Kept(row));
            results.push(kept);
            continue;
        }
        let mut result = RowResult::new(row.clone());
        on_event(RowEvent::Starting(row));
        match measure_row(row, &mut result, store, rig, &mut on_event)? {
            Ok(()) => store.save_row(&result)?,
            Err(error) => {
                let message = format!("{error:#}");
                on_event(RowEvent::Failed(row, &message));
                result.error = Some(message);
            }
        }
        results.push(result);
    }
    Ok(results)
}

/// The inner error is the row's alone.
fn measure_row<R: Rig>(
    row: &RowPlan,
    result: &mut RowResult,
    store: &Store,
    rig: &mut R,
    on_event: &mut impl FnMut(RowEvent<'_>),
) -> Result<Result<(), R::Error>, StoreError> {
    let mut server = match rig.start(row) {
        Ok(server) => server,
        Err(error) => return Ok(Err(error)),
    };
    let Description { command, stand_in, reference_command } = rig.describe(&server);
    result.stand_in = stand_in;
    for load in &row.loads {
        on_event(RowEvent::Measuring(row, load.load));
        let Measurement { outcome, joules, reference } = match rig.measure(&mut server, load) {
            Ok(measurement) => measurement,
            Err(error) => return Ok(Err(error)),
        };
        store.save_outcome(row, load.load.key(), &outcome)?;
        let mut block = Block::measured(&outcome);
        let tokens = outcome.metrics.total_output_tokens;
        block.energy = joules.and_then(|joules| Energy::new(joules, tokens));
        block.server_command = Some(command.clone());
        result.blocks.push((load.load, block));
        if let Some(outcome) = reference {
            store.save_outcome(row, &format!("{}.reference", load.load.key()), &outcome)?;
            let mut block = Block::measured(&outcome);
            block.server_command.clone_from(&reference_command);
            result.reference.push((load.load, block));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests;
