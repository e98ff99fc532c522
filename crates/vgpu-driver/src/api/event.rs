//! Events.

use std::ffi::{c_int, c_uint};

use crate::{pointer::Out, state::call_in_context, status::Status};

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(event: Out<usize>, flags: c_uint) -> c_int {
    call_in_context("cuEventCreate", |state, context| {
        event.set(state.create_event(context, flags)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: usize) -> c_int {
    call_in_context("cuEventDestroy_v2", |state, _| state.destroy_event(event))
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
    call_in_context("cuEventQuery", |state, _| state.query_event(event))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: usize) -> c_int {
    call_in_context("cuEventSynchronize", |state, _| state.synchronize_event(event))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: usize, end: usize) -> c_int {
    call_in_context("cuEventElapsedTime_v2", |state, _| {
        milliseconds.set(state.elapsed(start, end)?)
    })
}
