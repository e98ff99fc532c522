//! Events. Calls that name only an event need no current context: the handle tells it.

use std::ffi::{c_int, c_uint};

use crate::{
    pointer::Out,
    state::{call, call_in_context},
    status::Status,
};

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(event: Out<usize>, flags: c_uint) -> c_int {
    call_in_context("cuEventCreate", |state, context| {
        event.set(state.create_event(context, flags)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: usize) -> c_int {
    call("cuEventDestroy_v2", |state| state.destroy_event(event))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, stream: usize) -> c_int {
    call_in_context("cuEventRecord", |state, context| state.record(context, event, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecordWithFlags(event: usize, stream: usize, flags: c_uint) -> c_int {
    // Default, or a record that stays outside of a graph.
    const EXTERNAL: c_uint = 1;
    call_in_context("cuEventRecordWithFlags", |state, context| match flags {
        0 => state.record(context, event, stream),
        EXTERNAL => Err(Status::NotSupported),
        _ => Err(Status::InvalidValue),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: usize) -> c_int {
    call("cuEventQuery", |state| state.query_event(event))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: usize) -> c_int {
    call("cuEventSynchronize", |state| state.synchronize_event(event))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: usize, end: usize) -> c_int {
    call("cuEventElapsedTime_v2", |state| milliseconds.set(state.elapsed(start, end)?))
}
