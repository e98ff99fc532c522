//! Streams and capture.

use std::ffi::{c_int, c_uint};

use crate::{
    capture::CaptureMode,
    pointer::Out,
    state::{call, call_in_context, capture_mode},
    status::Status,
};

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(stream: Out<usize>, flags: c_uint) -> c_int {
    call_in_context("cuStreamCreate", |state, context| {
        stream.set(state.create_stream(context, flags, 0)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreateWithPriority(
    stream: Out<usize>,
    flags: c_uint,
    priority: c_int,
) -> c_int {
    call_in_context("cuStreamCreateWithPriority", |state, context| {
        stream.set(state.create_stream(context, flags, priority)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: usize) -> c_int {
    call_in_context("cuStreamDestroy_v2", |state, _| state.destroy_stream(stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetPriority(stream: usize, priority: Out<c_int>) -> c_int {
    call_in_context("cuStreamGetPriority", |state, context| {
        let key = state.resolve(context, stream)?;
        priority.set(state.stream(key)?.priority)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetFlags(stream: usize, flags: Out<c_uint>) -> c_int {
    call_in_context("cuStreamGetFlags", |state, context| {
        let key = state.resolve(context, stream)?;
        flags.set(state.stream(key)?.flags())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx(stream: usize, owner: Out<usize>) -> c_int {
    call_in_context("cuStreamGetCtx", |state, context| {
        let key = state.resolve(context, stream)?;
        owner.set(state.stream(key)?.context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> c_int {
    call_in_context("cuStreamSynchronize", |state, context| state.synchronize(context, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(stream: usize) -> c_int {
    call_in_context("cuStreamQuery", |state, context| {
        let key = state.resolve(context, stream)?;
        if let Some(capture) = state.stream(key)?.capture {
            state.invalidate(capture);
            return Err(Status::StreamCaptureUnsupported);
        }
        if !state.order_before(key)?.is_empty() {
            state.run_one();
        }
        if state.order_before(key)?.is_empty() {
            state.error_of(context)
        } else {
            Err(Status::NotReady)
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, flags: c_uint) -> c_int {
    // Default, or a wait that stays outside of a graph.
    const EXTERNAL: c_uint = 1;
    call_in_context("cuStreamWaitEvent", |state, context| match flags {
        0 => state.wait(context, stream, event),
        EXTERNAL => Err(Status::NotSupported),
        _ => Err(Status::InvalidValue),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: usize, mode: c_int) -> c_int {
    call_in_context("cuStreamBeginCapture_v2", |state, context| {
        state.begin_capture(context, stream, CaptureMode::from_code(mode)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamEndCapture(stream: usize, graph: Out<usize>) -> c_int {
    call_in_context("cuStreamEndCapture", |state, context| {
        graph.set(0)?;
        graph.set(state.end_capture(context, stream)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamIsCapturing(stream: usize, status: Out<c_int>) -> c_int {
    call_in_context("cuStreamIsCapturing", |state, context| {
        status.set(state.capture_status(context, stream)? as c_int)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuThreadExchangeStreamCaptureMode(mode: Out<c_int>) -> c_int {
    call("cuThreadExchangeStreamCaptureMode", |_| {
        let wanted = CaptureMode::from_code(mode.input().get()?)?;
        let old = capture_mode().replace(wanted);
        mode.set(old as c_int)
    })
}
