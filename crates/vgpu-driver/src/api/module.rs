//! Modules, functions and their attributes, occupancy.
//!
//! Calls that name a module or a function need no current context: the handle tells it. NVIDIA does
//! not say so, but candle asks for functions in threads that have none.

use std::{
    ffi::{c_char, c_int, c_uint},
    fs,
    path::Path,
};

use crate::{
    pointer::{In, Out},
    state::{call, call_in_context},
    status::Status,
};

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(module: Out<usize>, image: In<c_char>) -> c_int {
    call_in_context("cuModuleLoadData", |state, context| {
        module.set(state.load_image(context, image)?)
    })
}

/// The options say how to optimise and where to write logs; logs go to standard error here.
#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadDataEx(
    module: Out<usize>,
    image: In<c_char>,
    _count: c_uint,
    _options: In<c_int>,
    _values: In<usize>,
) -> c_int {
    cuModuleLoadData(module, image)
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoad(module: Out<usize>, file: In<c_char>) -> c_int {
    call_in_context("cuModuleLoad", |state, context| {
        let bytes = fs::read(Path::new(file.text()?)).map_err(|_| Status::FileNotFound)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Status::NoBinaryForGpu)?;
        module.set(state.load_text(context, text)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: usize) -> c_int {
    call_in_context("cuModuleUnload", |state, context| state.unload(context, module))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunction(function: Out<usize>, module: usize, name: In<c_char>) -> c_int {
    call("cuModuleGetFunction", |state| function.set(state.function(module, name.text()?)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetGlobal_v2(
    address: Out<u64>,
    bytes: Out<usize>,
    module: usize,
    name: In<c_char>,
) -> c_int {
    call("cuModuleGetGlobal_v2", |state| {
        let (start, size) = state.variable(module, name.text()?)?;
        address.set_if_wanted(start);
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetModule(module: Out<usize>, function: usize) -> c_int {
    call("cuFuncGetModule", |state| module.set(state.function_of(function)?.module()))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetName(name: Out<*const c_char>, function: usize) -> c_int {
    call("cuFuncGetName", |state| name.set(state.function_of(function)?.name.as_ptr()))
}

const MAX_DYNAMIC_SHARED: c_int = 8;
const CARVEOUT: c_int = 9;

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetAttribute(value: Out<c_int>, attribute: c_int, function: usize) -> c_int {
    call("cuFuncGetAttribute", |state| {
        let function = state.functions.get(&function).ok_or(Status::InvalidHandle)?;
        let device = &state.gpu.config().device;
        let kernel = &function.kernel;
        let fixed = kernel.static_shared_bytes();
        let (major, minor) = function.ptx_version;
        let number = match attribute {
            0 => kernel.max_threads().unwrap_or(device.max_threads_per_block),
            1 => fixed,
            // Constants of the module are in its variables; the cache mode is the default.
            2 | 7 => 0,
            3 => kernel.local_bytes(),
            4 => state.registers(function),
            5 => 10 * major + minor,
            6 => 110,
            MAX_DYNAMIC_SHARED => function
                .dynamic_shared_limit
                .unwrap_or_else(|| device.shared_per_block.saturating_sub(fixed)),
            CARVEOUT => return value.set(function.carveout),
            _ => return Err(Status::InvalidValue),
        };
        value.set(c_int::try_from(number).unwrap_or(c_int::MAX))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: usize, attribute: c_int, value: c_int) -> c_int {
    call("cuFuncSetAttribute", |state| {
        let limit = state.gpu.config().device.shared_per_block_optin;
        let function = state.function_of(function)?;
        match attribute {
            MAX_DYNAMIC_SHARED => {
                let bytes = u32::try_from(value).map_err(|_| Status::InvalidValue)?;
                if bytes + function.kernel.static_shared_bytes() > limit {
                    return Err(Status::InvalidValue);
                }
                function.dynamic_shared_limit = Some(bytes);
            }
            CARVEOUT if (-1..=100).contains(&value) => function.carveout = value,
            _ => return Err(Status::InvalidValue),
        }
        Ok(())
    })
}

/// How shared memory and L1 share their storage changes no result.
#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(function: usize, _configuration: c_int) -> c_int {
    call("cuFuncSetCacheConfig", |state| state.function_of(function).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: Out<c_int>,
    function: usize,
    threads: c_int,
    dynamic_shared_bytes: usize,
) -> c_int {
    call_in_context("cuOccupancyMaxActiveBlocksPerMultiprocessor", |state, _| {
        let function = state.functions.get(&function).ok_or(Status::InvalidHandle)?;
        let threads = u32::try_from(threads).map_err(|_| Status::InvalidValue)?;
        let dynamic = u32::try_from(dynamic_shared_bytes).map_err(|_| Status::InvalidValue)?;
        if threads == 0 {
            return Err(Status::InvalidValue);
        }
        blocks.set(state.resident_blocks(function, threads, dynamic) as c_int)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: Out<c_int>,
    function: usize,
    threads: c_int,
    dynamic_shared_bytes: usize,
    _flags: c_uint,
) -> c_int {
    cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, dynamic_shared_bytes)
}
