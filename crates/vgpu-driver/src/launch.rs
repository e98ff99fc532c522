//! Launches: parameters, limits, and the attributes of `cuLaunchKernelEx`.

use std::sync::Arc;

use vgpu::{Device, Launch};

use crate::{
    fault,
    module::Function,
    pointer::In,
    state::State,
    status::{Result, Status},
    work::{KernelCall, Work},
};

/// Grid limits in x, y, z.
pub(crate) const MAX_GRID: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

/// Block limits in x, y, z.
pub(crate) const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];

/// Registers are given to warps in units of this many, and a thread has at most 255.
const REGISTER_UNIT: u32 = 256;
const MAX_REGISTERS: u32 = 255;

const WARP: u32 = 32;

/// How a program passes a kernel's parameters: one address each, or one buffer.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    pub(crate) each: In<In<u8>>,
    pub(crate) extra: In<usize>,
}

/// What a launch asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared_bytes: u32,
    pub(crate) stream: usize,
    pub(crate) cooperative: bool,
    /// Programmatic stream serialisation: it may start when the kernel before lets it.
    pub(crate) programmatic: bool,
}

impl Request {
    /// A launch without attributes.
    pub(crate) fn new(
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared_bytes: u32,
        stream: usize,
    ) -> Self {
        Self { grid, block, dynamic_shared_bytes, stream, cooperative: false, programmatic: false }
    }
}

impl State {
    pub(crate) fn launch(
        &mut self,
        context: usize,
        handle: usize,
        request: Request,
        arguments: Arguments,
    ) -> Result<()> {
        let call = self.kernel_call(context, handle, request, arguments)?;
        self.submit(context, request.stream, Work::Launch(Arc::new(call)))
    }

    /// A kernel with its parameters, if the device can run it so.
    pub(crate) fn kernel_call(
        &mut self,
        context: usize,
        handle: usize,
        request: Request,
        arguments: Arguments,
    ) -> Result<KernelCall> {
        let function = self.functions.get(&handle).ok_or(Status::InvalidHandle)?;
        if function.context != context {
            return Err(Status::InvalidHandle);
        }
        let parameters = arguments.collect(function)?;
        let registers = self.resources.registers(function.kernel.name());
        let launch = Launch {
            grid: request.grid,
            block: request.block,
            dynamic_shared_bytes: request.dynamic_shared_bytes,
            max_dynamic_shared_bytes: function.dynamic_shared_limit,
            cooperative: request.cooperative,
            registers_per_thread: registers,
        };
        if let Err((status, message)) = check(&self.gpu.config().device, function, &launch) {
            fault::print(&format!("launch of {}: {message}", function.kernel.name()));
            self.counts.fault();
            return Err(status);
        }
        if request.cooperative {
            let threads = request.block.iter().product();
            let each = self.resident_blocks(function, threads, request.dynamic_shared_bytes);
            let places = u64::from(each) * u64::from(self.gpu.config().device.multiprocessors);
            if request.grid.iter().map(|n| u64::from(*n)).product::<u64>() > places {
                return Err(Status::CooperativeLaunchTooLarge);
            }
        }
        let kernel = function.kernel.clone();
        let triggers = function.dependence.triggers;
        let overlaps = request.programmatic && !function.dependence.waits;
        Ok(KernelCall { kernel, function: handle, launch, parameters, triggers, overlaps })
    }

    /// Registers of a thread: as `ptxas` counted, or as many as the kernel's bounds leave room for.
    pub(crate) fn registers(&self, function: &Function) -> u32 {
        let kernel = &function.kernel;
        self.resources.registers(kernel.name()).or(kernel.max_registers()).unwrap_or_else(|| {
            let device = &self.gpu.config().device;
            let threads = kernel.max_threads().unwrap_or(device.max_threads_per_block);
            let of_thread = device.registers_per_multiprocessor / threads.max(1);
            (of_thread / (REGISTER_UNIT / WARP) * (REGISTER_UNIT / WARP)).min(MAX_REGISTERS)
        })
    }

    /// Blocks of this size that one multiprocessor holds at a time.
    pub(crate) fn resident_blocks(&self, function: &Function, threads: u32, dynamic: u32) -> u32 {
        let device = &self.gpu.config().device;
        let warps = threads.div_ceil(WARP);
        if warps == 0 || threads > device.max_threads_per_block {
            return 0;
        }
        let fixed = function.kernel.static_shared_bytes();
        if fixed + dynamic > device.shared_per_block_optin {
            return 0;
        }
        let shared = fixed + dynamic + device.shared_reserved_per_block;
        // Each of the four partitions of a multiprocessor holds whole warps.
        let of_warp = (self.registers(function) * WARP).next_multiple_of(REGISTER_UNIT);
        let by_registers = 4 * (device.registers_per_multiprocessor / 4 / of_warp.max(1)) / warps;
        (device.max_threads_per_multiprocessor / (warps * WARP))
            .min(device.shared_per_multiprocessor / shared)
            .min(by_registers)
            .min(device.max_blocks_per_multiprocessor)
    }
}

impl Arguments {
    /// The parameter buffer of the kernel.
    fn collect(self, function: &Function) -> Result<Vec<u8>> {
        let kernel = &function.kernel;
        match (self.each.is_null(), self.extra.is_null()) {
            (_, true) => {
                let mut buffer = vec![0; kernel.parameter_bytes()];
                for (index, parameter) in kernel.parameters().iter().enumerate() {
                    let value = self.each.at(index)?;
                    for byte in 0..parameter.bytes {
                        buffer[parameter.offset + byte] = value.at(byte)?;
                    }
                }
                Ok(buffer)
            }
            (true, false) => self.whole_buffer(kernel.parameter_bytes()),
            (false, false) => Err(Status::InvalidValue),
        }
    }

    /// Reads `CU_LAUNCH_PARAM_BUFFER_POINTER` and `..._SIZE` up to `CU_LAUNCH_PARAM_END`.
    fn whole_buffer(self, bytes: usize) -> Result<Vec<u8>> {
        const END: usize = 0;
        const POINTER: usize = 1;
        const SIZE: usize = 2;
        let mut buffer = None;
        let mut size = None;
        let mut index = 0;
        loop {
            match self.extra.at(index)? {
                END => break,
                POINTER => buffer = Some(self.extra.cast::<In<u8>>().at(index + 1)?),
                SIZE => size = Some(self.extra.cast::<In<usize>>().at(index + 1)?.get()?),
                _ => return Err(Status::InvalidValue),
            }
            index += 2;
        }
        let (Some(buffer), Some(size)) = (buffer, size) else { return Err(Status::InvalidValue) };
        if size != bytes {
            return Err(Status::InvalidValue);
        }
        (0..size).map(|byte| buffer.at(byte)).collect()
    }
}

/// Whether a device accepts the launch; what it cannot run is refused before it is queued.
fn check(
    device: &Device,
    function: &Function,
    launch: &Launch,
) -> std::result::Result<(), (Status, String)> {
    let invalid = |message: String| Err((Status::InvalidValue, message));
    let outside = |size: [u32; 3], limit: [u32; 3]| {
        size.iter().zip(limit).any(|(n, limit)| *n == 0 || *n > limit)
    };
    if outside(launch.grid, MAX_GRID) {
        return invalid(format!("grid {:?} is not within 1..={MAX_GRID:?}", launch.grid));
    }
    if outside(launch.block, MAX_BLOCK) {
        return invalid(format!("block {:?} is not within 1..={MAX_BLOCK:?}", launch.block));
    }
    let kernel = &function.kernel;
    let threads: u32 = launch.block.iter().product();
    let most = kernel.max_threads().unwrap_or(device.max_threads_per_block);
    if threads > device.max_threads_per_block.min(most) {
        return invalid(format!("{threads} threads in a block, at most {most}"));
    }
    if kernel.required_threads().is_some_and(|required| required != launch.block) {
        return invalid(format!("block {:?} is not what .reqntid says", launch.block));
    }
    let (fixed, dynamic) = (kernel.static_shared_bytes(), launch.dynamic_shared_bytes);
    let default_limit = device.shared_per_block.saturating_sub(fixed);
    let limit = launch.max_dynamic_shared_bytes.unwrap_or(default_limit).max(default_limit);
    if dynamic > limit {
        return invalid(format!(
            "{dynamic} bytes of dynamic shared memory, at most {limit} without \
             CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES"
        ));
    }
    if let Some(registers) = launch.registers_per_thread {
        let of_warp = (registers * WARP).next_multiple_of(REGISTER_UNIT);
        let needed = of_warp * threads.div_ceil(WARP);
        if needed > device.registers_per_multiprocessor {
            return Err((
                Status::LaunchOutOfResources,
                format!("{needed} registers, a multiprocessor has fewer"),
            ));
        }
    }
    Ok(())
}

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    stream: usize,
    attributes: In<LaunchAttribute>,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: a number and a union of 64 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct LaunchAttribute {
    id: u32,
    padding: u32,
    value: [u32; 16],
}

impl LaunchConfig {
    /// What the attributes ask for; those that nothing here can honour are refused.
    pub(crate) fn request(&self) -> Result<Request> {
        const IGNORE: u32 = 0;
        const ACCESS_POLICY_WINDOW: u32 = 1;
        const COOPERATIVE: u32 = 2;
        const SYNCHRONIZATION_POLICY: u32 = 3;
        const CLUSTER_DIMENSION: u32 = 4;
        const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
        const PRIORITY: u32 = 8;
        let mut request = Request::new(self.grid, self.block, self.shared_bytes, self.stream);
        for index in 0..self.attribute_count as usize {
            let attribute = self.attributes.at(index)?;
            match attribute.id {
                // Caching, waiting and priority change no result.
                IGNORE | ACCESS_POLICY_WINDOW | SYNCHRONIZATION_POLICY | PRIORITY => {}
                PROGRAMMATIC_STREAM_SERIALIZATION => {
                    request.programmatic = attribute.value[0] != 0;
                }
                COOPERATIVE => request.cooperative = attribute.value[0] != 0,
                CLUSTER_DIMENSION if attribute.value[..3] == [1, 1, 1] => {}
                other => {
                    fault::print(&format!("launch attribute {other} is not supported"));
                    return Err(Status::NotSupported);
                }
            }
        }
        Ok(request)
    }
}

/// The argument of `cuLaunchKernel` that lists parameters.
pub(crate) type ParameterList = In<In<u8>>;

/// The other way to pass them.
pub(crate) type ExtraList = In<usize>;
