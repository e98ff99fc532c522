//! Launches of kernels and of host functions.

use std::ffi::{c_int, c_uint, c_void};

use crate::{
    launch::{Arguments, ExtraList, LaunchConfig, ParameterList, Request},
    pointer::{HostFunction, In},
    state::call_in_context,
    work::Work,
};

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernel(
    function: usize,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    dynamic_shared_bytes: c_uint,
    stream: usize,
    parameters: ParameterList,
    extra: ExtraList,
) -> c_int {
    call_in_context("cuLaunchKernel", |state, context| {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let request = Request::new(grid, block, dynamic_shared_bytes, stream);
        state.launch(context, function, request, Arguments { each: parameters, extra })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchCooperativeKernel(
    function: usize,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    dynamic_shared_bytes: c_uint,
    stream: usize,
    parameters: ParameterList,
) -> c_int {
    call_in_context("cuLaunchCooperativeKernel", |state, context| {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let plain = Request::new(grid, block, dynamic_shared_bytes, stream);
        let request = Request { cooperative: true, ..plain };
        let arguments = Arguments { each: parameters, extra: ExtraList::NULL };
        state.launch(context, function, request, arguments)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernelEx(
    configuration: In<LaunchConfig>,
    function: usize,
    parameters: ParameterList,
    extra: ExtraList,
) -> c_int {
    call_in_context("cuLaunchKernelEx", |state, context| {
        let request = configuration.get()?.request()?;
        state.launch(context, function, request, Arguments { each: parameters, extra })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchHostFunc(
    stream: usize,
    function: Option<extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
) -> c_int {
    call_in_context("cuLaunchHostFunc", |state, context| {
        let function = HostFunction::new(function, argument)?;
        state.submit(context, stream, Work::HostCall(function))
    })
}
