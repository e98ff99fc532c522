//! Graphs as a whole, and executable ones.

use std::ffi::{c_int, c_uint};

use crate::{graph::UpdateResult, pointer::Out, state::call_in_context, status::Status};

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithFlags(exec: Out<usize>, graph: usize, flags: u64) -> c_int {
    call_in_context("cuGraphInstantiateWithFlags", |state, _| {
        exec.set(state.instantiate(graph, flags)?)
    })
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[derive(Clone, Copy)]
#[repr(C)]
struct InstantiateParameters {
    flags: u64,
    upload_stream: usize,
    error_node: usize,
    result: c_int,
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithParams(
    exec: Out<usize>,
    graph: usize,
    parameters: Out<InstantiateParameters>,
) -> c_int {
    const UPLOAD: u64 = 2;
    const SUCCESS: c_int = 0;
    const ERROR: c_int = 1;
    const INVALID_STRUCTURE: c_int = 2;
    call_in_context("cuGraphInstantiateWithParams", |state, context| {
        let mut wanted = parameters.input().get()?;
        if wanted.flags & UPLOAD != 0 {
            state.resolve(context, wanted.upload_stream)?;
        }
        let made = state.instantiate(graph, wanted.flags & !UPLOAD);
        wanted.error_node = 0;
        wanted.result = match made {
            Ok(_) => SUCCESS,
            // Nodes that wait for each other.
            Err(Status::InvalidValue) if state.graph(graph).is_ok() => INVALID_STRUCTURE,
            Err(_) => ERROR,
        };
        parameters.set(wanted)?;
        exec.set(made?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(exec: usize, stream: usize) -> c_int {
    call_in_context("cuGraphLaunch", |state, context| state.launch_graph(context, exec, stream))
}

/// Uploading makes the first launch faster and changes nothing else.
#[unsafe(no_mangle)]
extern "C" fn cuGraphUpload(exec: usize, stream: usize) -> c_int {
    call_in_context("cuGraphUpload", |state, context| {
        state.resolve(context, stream)?;
        state.graph_execs.get(&exec).map(|_| ()).ok_or(Status::InvalidHandle)
    })
}

/// `CUgraphExecUpdateResultInfo`.
#[derive(Clone, Copy)]
#[repr(C)]
struct UpdateResultInfo {
    result: c_int,
    error_node: usize,
    error_from_node: usize,
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecUpdate_v2(
    exec: usize,
    graph: usize,
    info: Out<UpdateResultInfo>,
) -> c_int {
    call_in_context("cuGraphExecUpdate_v2", |state, _| {
        let (result, error_node) = state.update(exec, graph)?;
        info.set(UpdateResultInfo { result: result as c_int, error_node, error_from_node: 0 })?;
        if result == UpdateResult::Success { Ok(()) } else { Err(Status::GraphExecUpdateFailure) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphCreate(graph: Out<usize>, flags: c_uint) -> c_int {
    call_in_context("cuGraphCreate", |state, context| {
        if flags != 0 {
            return Err(Status::InvalidValue);
        }
        graph.set(state.create_graph(context))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphClone(clone: Out<usize>, graph: usize) -> c_int {
    call_in_context("cuGraphClone", |state, _| clone.set(state.clone_graph(graph)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: usize) -> c_int {
    call_in_context("cuGraphDestroy", |state, _| state.destroy_graph(graph))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(exec: usize) -> c_int {
    call_in_context("cuGraphExecDestroy", |state, _| state.destroy_exec(exec))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecGetFlags(exec: usize, flags: Out<u64>) -> c_int {
    call_in_context("cuGraphExecGetFlags", |state, _| flags.set(state.exec_flags(exec)?))
}

/// Memory of graphs is taken and given back with them; none is kept that could be trimmed.
#[unsafe(no_mangle)]
extern "C" fn cuDeviceGraphMemTrim(device: c_uint) -> c_int {
    call_in_context("cuDeviceGraphMemTrim", |_, _| {
        if device == 0 { Ok(()) } else { Err(Status::InvalidDevice) }
    })
}
