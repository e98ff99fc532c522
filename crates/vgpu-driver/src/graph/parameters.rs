//! What nodes do, as the C API passes it.

use std::ffi::c_void;

use vgpu::Kind;

use crate::{
    graph::GraphNode,
    launch::{Arguments, ExtraList, ParameterList, Request},
    pointer::{HostFunction, HostMemory, In},
    state::State,
    status::{Result, Status},
    work::{Place, Work},
};

/// `CUDA_KERNEL_NODE_PARAMS_v2`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct KernelParameters {
    function: usize,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    parameters: ParameterList,
    extra: ExtraList,
    kernel: usize,
    context: usize,
}

impl KernelParameters {
    pub(crate) fn work(&self, state: &mut State, context: usize) -> Result<Work> {
        if self.function == 0 && self.kernel != 0 {
            // A kernel of a library, not of a module.
            return Err(Status::NotSupported);
        }
        if self.context != 0 && self.context != context {
            state.context(self.context)?;
            return Err(Status::InvalidValue);
        }
        let request = Request::new(self.grid, self.block, self.shared_bytes, 0);
        let arguments = Arguments { each: self.parameters, extra: self.extra };
        let call = state.kernel_call(context, self.function, request, arguments)?;
        Ok(Work::Launch(call.into()))
    }

    /// The parameters stay where they are told to be until the node changes or ends.
    pub(crate) fn of(node: &mut GraphNode, context: usize) -> Result<Self> {
        let Work::Launch(call) = &node.work else { return Err(Status::InvalidValue) };
        let start = call.parameters.as_ptr().expose_provenance();
        node.parameters = call.kernel.parameters().iter().map(|p| start + p.offset).collect();
        Ok(Self {
            function: call.function,
            grid: call.launch.grid,
            block: call.launch.block,
            shared_bytes: call.launch.dynamic_shared_bytes,
            parameters: In::from_address(node.parameters.as_ptr().expose_provenance()),
            extra: ExtraList::NULL,
            kernel: 0,
            context,
        })
    }
}

const HOST: u32 = 1;
const DEVICE: u32 = 2;
const UNIFIED: u32 = 4;

/// One end of a copy in `CUDA_MEMCPY3D`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct End {
    x: usize,
    y: usize,
    z: usize,
    level: usize,
    memory_type: u32,
    host: usize,
    device: u64,
    array: usize,
    reserved: usize,
    pitch: usize,
    height: usize,
}

impl End {
    fn place(&self, state: &State) -> Result<Place> {
        if self.y != 0 || self.z != 0 || self.level != 0 {
            return Err(Status::NotSupported);
        }
        let device = self.device + self.x as u64;
        let host = Place::Host(HostMemory::at((self.host + self.x) as u64));
        match self.memory_type {
            HOST => Ok(host),
            DEVICE => Ok(Place::Device(device)),
            UNIFIED => {
                let found = state.gpu.memory().find(device);
                let on_device = found.is_some_and(|allocation| allocation.kind != Kind::Host);
                Ok(if on_device {
                    Place::Device(device)
                } else {
                    Place::Host(HostMemory::at(device))
                })
            }
            // Arrays.
            _ => Err(Status::NotSupported),
        }
    }

    fn of(place: &Place) -> Self {
        match place {
            Place::Device(device) => {
                Self { memory_type: DEVICE, device: *device, ..Self::default() }
            }
            Place::Host(memory) => {
                Self { memory_type: HOST, host: memory.address() as usize, ..Self::default() }
            }
            // Copies that graphs hold read the host at each launch.
            Place::Staged(_) => Self { memory_type: HOST, ..Self::default() },
        }
    }
}

/// `CUDA_MEMCPY3D`, of which one row is copied here.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CopyParameters {
    from: End,
    to: End,
    bytes: usize,
    rows: usize,
    layers: usize,
}

impl CopyParameters {
    pub(crate) fn work(&self, state: &mut State) -> Result<Work> {
        if self.bytes == 0 || self.rows == 0 || self.layers == 0 {
            return Err(Status::InvalidValue);
        }
        if self.rows > 1 || self.layers > 1 {
            return Err(Status::NotSupported);
        }
        let (to, from) = (self.to.place(state)?, self.from.place(state)?);
        for place in [&to, &from] {
            if let Place::Device(address) = place {
                state.check_range("copy node", *address, self.bytes as u64)?;
            }
        }
        Ok(Work::Copy { to, from, bytes: self.bytes })
    }

    pub(crate) fn of(work: &Work) -> Result<Self> {
        let Work::Copy { to, from, bytes } = work else { return Err(Status::InvalidValue) };
        Ok(Self { from: End::of(from), to: End::of(to), bytes: *bytes, rows: 1, layers: 1 })
    }
}

/// `CUDA_MEMSET_NODE_PARAMS`, of which one row is filled here.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct FillParameters {
    to: u64,
    pitch: usize,
    value: u32,
    element_bytes: u32,
    width: usize,
    rows: usize,
}

impl FillParameters {
    pub(crate) fn work(&self, state: &mut State) -> Result<Work> {
        if !matches!(self.element_bytes, 1 | 2 | 4) || self.width == 0 || self.rows == 0 {
            return Err(Status::InvalidValue);
        }
        if self.rows > 1 {
            return Err(Status::NotSupported);
        }
        let pattern = &self.value.to_le_bytes()[..self.element_bytes as usize];
        state.fill_work(self.to, pattern, self.width as u64)
    }

    pub(crate) fn of(work: &Work) -> Result<Self> {
        let Work::Fill { address, pattern, count } = work else {
            return Err(Status::InvalidValue);
        };
        let mut value = [0; 4];
        value[..pattern.len()].copy_from_slice(pattern);
        Ok(Self {
            to: *address,
            pitch: 0,
            value: u32::from_le_bytes(value),
            element_bytes: pattern.len() as u32,
            width: *count as usize,
            rows: 1,
        })
    }
}

/// `CUDA_HOST_NODE_PARAMS`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct HostParameters {
    function: Option<extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
}

impl HostParameters {
    pub(crate) fn work(&self) -> Result<Work> {
        Ok(Work::HostCall(HostFunction::new(self.function, self.argument)?))
    }

    pub(crate) fn of(work: &Work) -> Result<Self> {
        let Work::HostCall(call) = work else { return Err(Status::InvalidValue) };
        let (function, argument) = call.parts();
        Ok(Self { function: Some(function), argument })
    }
}
