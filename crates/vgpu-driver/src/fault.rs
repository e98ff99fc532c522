//! Faults of kernels as CUDA reports them: an error code that sticks, and here also a full report.

use vgpu::{Fault, FaultKind, Launch};

use crate::{status::Status, work::Failure};

/// What a device gives for the fault. Faults that hardware does not notice fail the launch.
pub(crate) fn status(kind: FaultKind) -> Status {
    match kind {
        FaultKind::OutOfBounds | FaultKind::UseAfterFree | FaultKind::WriteToConstant => {
            Status::IllegalAddress
        }
        FaultKind::Misaligned => Status::MisalignedAddress,
        FaultKind::Deadlock => Status::LaunchTimeout,
        FaultKind::LaunchLimit => Status::LaunchOutOfResources,
        _ => Status::LaunchFailed,
    }
}

pub(crate) fn failure(fault: &Fault, launch: &Launch) -> Failure {
    let Launch { grid, block, dynamic_shared_bytes, .. } = launch;
    let launched =
        format!("launched as {grid:?} x {block:?}, {dynamic_shared_bytes} dynamic shared bytes");
    Failure { status: status(fault.kind), report: format!("{fault}\n  {launched}") }
}

/// Prints what a developer needs to see and no return code can carry.
#[allow(clippy::print_stderr, reason = "the program under test has no other channel for it")]
pub(crate) fn print(message: &str) {
    eprintln!("vgpu: {message}");
}
