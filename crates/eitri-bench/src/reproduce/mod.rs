//! The published tables, measured again: every checkpoint on a server of its own, first at high load,
//! then at low load, whose prompts are then in the server's prefix cache as they were in the published
//! runs, then at low load with prompts that are not.

mod plan;
mod store;
mod tables;

use std::fmt::Display;

use serde::{Deserialize, Serialize};

pub use plan::{LoadPlan, Plan, RowPlan, Scale};
pub use store::{Store, StoreError};
pub use tables::{Checkpoint, Ours, report};

use crate::{
    outcome::BenchOutcome,
    report::{Block, Energy, Load},
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

    /// Puts a load on it.
    ///
    /// # Errors
    /// When nothing could be measured. Requests that fail are part of the outcome.
    fn measure(
        &mut self,
        server: &mut Self::Server,
        load: &LoadPlan,
    ) -> Result<Measurement, Self::Error>;

    /// How the server was started, and what stands in for the checkpoint where that is not itself.
    fn describe(&self, server: &Self::Server) -> (Vec<String>, Option<String>);
}

/// One load.
#[derive(Debug)]
pub struct Measurement {
    /// What the client saw.
    pub outcome: BenchOutcome,
    /// Joules of the run, where the machine tells.
    pub joules: Option<f64>,
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
    /// Why the rest is missing.
    pub error: Option<String>,
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
    plan: &Plan,
    store: &Store,
    rig: &mut R,
    mut on_event: impl FnMut(RowEvent<'_>),
) -> Result<Vec<RowResult>, StoreError> {
    let mut results = Vec::new();
    for row in &plan.rows {
        if let Some(kept) = store.row(row)? {
            on_event(RowEvent::Kept(row));
            results.push(kept);
            continue;
        }
        let mut result =
            RowResult { plan: row.clone(), stand_in: None, blocks: Vec::new(), error: None };
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
    let (command, stand_in) = rig.describe(&server);
    result.stand_in = stand_in;
    for load in &row.loads {
        on_event(RowEvent::Measuring(row, load.load));
        let Measurement { outcome, joules } = match rig.measure(&mut server, load) {
            Ok(measurement) => measurement,
            Err(error) => return Ok(Err(error)),
        };
        store.save_outcome(row, load.load, &outcome)?;
        let mut block = Block::measured(&outcome);
        let tokens = outcome.metrics.total_output_tokens;
        block.energy = joules.and_then(|joules| Energy::new(joules, tokens));
        block.server_command = Some(command.clone());
        result.blocks.push((load.load, block));
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests;
