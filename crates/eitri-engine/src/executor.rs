//! The one interface between deciding and computing.

use crate::{StepOutput, StepPlan};

/// A step as a whole could not be carried out; the engine ends all sequences with this message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("step {step} failed: {message}")]
pub struct ExecutorError {
    /// The step that failed.
    pub step: u64,
    /// What went wrong.
    pub message: String,
}

/// Carries out step plans on some device.
///
/// `submit` may return before the work is done; `collect` waits for the oldest submitted step.
/// The engine keeps at most one step in flight.
///
/// A plan with a [`crate::StepLimit`] may be carried out in part: the executor looks at the time while it
/// computes, and where it would be late it leaves out tokens from the end.
///
/// A plan may have no rows: it then only releases. After an error or a panic the engine cannot know
/// how far the plan was applied, so the next plan releases every sequence that the failed one
/// released, admitted or computed; ids that the executor does not hold are to be ignored.
pub trait Executor: Send {
    /// Starts a step.
    ///
    /// # Errors
    /// When the step cannot be started at all.
    fn submit(&mut self, plan: &StepPlan) -> Result<(), ExecutorError>;

    /// Waits for the step and writes its result into `output`, which arrives cleared.
    ///
    /// # Errors
    /// When the step as a whole failed.
    fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecutorError>;
}
