//! What a stream can be asked to do, and doing it.

use std::{fmt, sync::Arc};

use vgpu::{Gpu, Kernel, Launch, MemoryError};

use crate::{
    graph::GraphMemory,
    pointer::{HostFunction, HostMemory},
    status::Status,
};

/// One piece of work of a stream or a graph. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Work {
    /// Nothing but a place in the order.
    Marker,
    /// Notes the time at which everything before it was done.
    Record {
        event: usize,
        serial: u64,
    },
    Copy {
        to: Place,
        from: Place,
        bytes: usize,
    },
    Fill {
        address: u64,
        pattern: Arc<[u8]>,
        count: u64,
    },
    Launch(Arc<KernelCall>),
    HostCall(HostFunction),
    /// Gives an allocation of a pool back.
    Free {
        address: u64,
    },
    GraphAlloc(Arc<GraphMemory>),
    GraphFree(Arc<GraphMemory>),
    /// A routine of cuBLAS or cuRAND.
    Library(Arc<dyn Routine>),
}

/// An end of a copy.
#[derive(Clone)]
pub(crate) enum Place {
    Device(u64),
    /// Host memory that is read or written when the copy runs.
    Host(HostMemory),
    /// Host memory as it was when the copy was submitted.
    Staged(Arc<[u8]>),
}

/// A kernel with all that a launch needs.
pub(crate) struct KernelCall {
    pub(crate) kernel: Kernel,
    /// The function's handle.
    pub(crate) function: usize,
    pub(crate) launch: Launch,
    pub(crate) parameters: Vec<u8>,
    /// Whether it lets the next kernel of its stream start before it ends.
    pub(crate) triggers: bool,
    /// Whether it may run beside a kernel before it that triggers: the launch allows it, and it
    /// does not wait.
    pub(crate) overlaps: bool,
}

/// Work of a library that stands beside the driver.
pub(crate) trait Routine: Send + Sync {
    fn name(&self) -> &'static str;
    fn run(&self, gpu: &Gpu) -> Result<(), MemoryError>;
}

/// What went wrong while work ran: the error that sticks to the context, and the report.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) report: String,
}

/// What a kernel did, for the counts.
pub(crate) type Launched = Option<(String, vgpu::Report)>;

impl Work {
    /// A word for reports and for comparing graphs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Marker => "empty",
            Self::Record { .. } => "event record",
            Self::Copy { .. } => "copy",
            Self::Fill { .. } => "memset",
            Self::Launch(_) => "kernel",
            Self::HostCall(_) => "host function",
            Self::Free { .. } => "free",
            Self::GraphAlloc(_) => "graph allocation",
            Self::GraphFree(_) => "graph free",
            Self::Library(routine) => routine.name(),
        }
    }

    /// Runs everything but [`Record`](Self::Record) and [`HostCall`](Self::HostCall), which need
    /// more than the device.
    pub(crate) fn run(&self, gpu: &Gpu) -> Result<Launched, Failure> {
        match self {
            Self::Copy { to, from, bytes } => copy(gpu, to, from, *bytes).map(|()| None),
            Self::Fill { address, pattern, count } => {
                memory("memset", gpu.memory().fill(*address, pattern, *count))
            }
            Self::Free { address } => memory("free", gpu.memory().free(*address)),
            Self::Library(routine) => memory(routine.name(), routine.run(gpu)),
            Self::Launch(call) => match gpu.launch(&call.kernel, &call.launch, &call.parameters) {
                Ok(report) => Ok(Some((call.kernel.name().to_owned(), report))),
                Err(fault) => Err(crate::fault::failure(&fault, &call.launch)),
            },
            Self::GraphAlloc(allocation) => memory("graph allocation", allocation.begin()),
            Self::GraphFree(allocation) => memory("graph free", allocation.end()),
            Self::Marker | Self::Record { .. } | Self::HostCall(_) => Ok(None),
        }
    }

    /// Whether a node of an executable graph may do the other work instead: the same kind, with
    /// copies between the same kinds of memory.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let on_device = |place: &Place| matches!(place, Place::Device(_));
        match (self, other) {
            (Self::Copy { to, from, .. }, Self::Copy { to: new_to, from: new_from, .. }) => {
                on_device(to) == on_device(new_to) && on_device(from) == on_device(new_from)
            }
            _ => self.kind() == other.kind(),
        }
    }

    /// `CUgraphNodeType`.
    pub(crate) fn node_type(&self) -> i32 {
        match self {
            // On a GPU, libraries launch kernels.
            Self::Launch(_) | Self::Library(_) => 0,
            Self::Copy { .. } => 1,
            Self::Fill { .. } => 2,
            Self::HostCall(_) => 3,
            Self::Marker => 5,
            Self::Record { .. } => 7,
            Self::GraphAlloc(_) => 10,
            Self::Free { .. } | Self::GraphFree(_) => 11,
        }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

fn memory(what: &str, result: Result<(), MemoryError>) -> Result<Launched, Failure> {
    match result {
        Ok(()) => Ok(None),
        Err(error) => {
            Err(Failure { status: Status::IllegalAddress, report: format!("{what}: {error}") })
        }
    }
}

fn copy(gpu: &Gpu, to: &Place, from: &Place, bytes: usize) -> Result<(), Failure> {
    let memory = gpu.memory();
    let illegal = |error: MemoryError| Failure {
        status: Status::IllegalAddress,
        report: format!("copy: {error}"),
    };
    let host = |status| Failure { status, report: "copy: null host pointer".to_owned() };
    match (to, from) {
        (Place::Device(to), Place::Device(from)) => {
            memory.copy(*to, *from, bytes as u64).map_err(illegal)
        }
        (Place::Device(to), Place::Staged(from)) => memory.write(*to, from).map_err(illegal),
        (Place::Device(to), Place::Host(from)) => {
            let data = from.snapshot(bytes).map_err(host)?;
            memory.write(*to, &data).map_err(illegal)
        }
        (Place::Host(to), Place::Device(from)) => {
            let mut data = vec![0; bytes];
            memory.read(*from, &mut data).map_err(illegal)?;
            to.write(&data).map_err(host)
        }
        (Place::Host(to), Place::Host(from)) => {
            to.write(&from.snapshot(bytes).map_err(host)?).map_err(host)
        }
        (Place::Host(to), Place::Staged(from)) => to.write(from).map_err(host),
        (Place::Staged(_), _) => Err(host(Status::InvalidValue)),
    }
}
