//! Contexts.

use std::ffi::{c_int, c_uint};

use crate::{
    pointer::{In, Out},
    state::{call, call_in_context, current},
    status::Status,
    stream::PRIORITIES,
};

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: Out<usize>, device: c_int) -> c_int {
    call("cuDevicePrimaryCtxRetain", |state| {
        if device != 0 {
            return Err(Status::InvalidDevice);
        }
        context.set(state.retain_primary()?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_int {
    call("cuDevicePrimaryCtxRelease_v2", |state| {
        if device != 0 {
            return Err(Status::InvalidDevice);
        }
        state.release_primary()
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxReset_v2(device: c_int) -> c_int {
    call("cuDevicePrimaryCtxReset_v2", |state| {
        if device != 0 {
            return Err(Status::InvalidDevice);
        }
        state.reset_primary()
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxGetState(
    device: c_int,
    flags: Out<c_uint>,
    active: Out<c_int>,
) -> c_int {
    call("cuDevicePrimaryCtxGetState", |state| {
        if device != 0 {
            return Err(Status::InvalidDevice);
        }
        let primary = state.primary.and_then(|handle| state.contexts.get(&handle));
        flags.set(primary.map_or(0, |context| context.flags))?;
        active.set(c_int::from(primary.is_some()))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v4(
    context: Out<usize>,
    parameters: In<u8>,
    flags: c_uint,
    device: c_int,
) -> c_int {
    call("cuCtxCreate_v4", |state| {
        if device != 0 {
            return Err(Status::InvalidDevice);
        }
        if !parameters.is_null() {
            // Affinity to some of the multiprocessors, or sharing with graphics.
            return Err(Status::NotSupported);
        }
        let handle = state.create_context(flags);
        current(|stack| stack.push(handle));
        context.set(handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy_v2(context: usize) -> c_int {
    call("cuCtxDestroy_v2", |state| {
        if state.primary == Some(context) {
            return Err(Status::InvalidContext);
        }
        state.destroy_context(context)?;
        current(|stack| stack.retain(|handle| *handle != context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(context: Out<usize>) -> c_int {
    call("cuCtxGetCurrent", |_| context.set(current(|stack| stack.last().copied().unwrap_or(0))))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: usize) -> c_int {
    call("cuCtxSetCurrent", |state| {
        if context != 0 {
            state.context(context)?;
        }
        current(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: usize) -> c_int {
    call("cuCtxPushCurrent_v2", |state| {
        state.context(context)?;
        current(|stack| stack.push(context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPopCurrent_v2(context: Out<usize>) -> c_int {
    call("cuCtxPopCurrent_v2", |_| {
        let popped = current(Vec::pop).ok_or(Status::InvalidContext)?;
        context.set_if_wanted(popped);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice(device: Out<c_int>) -> c_int {
    call("cuCtxGetDevice", |state| {
        let handle = current(|stack| stack.last().copied()).ok_or(Status::InvalidContext)?;
        state.context(handle)?;
        device.set(0)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> c_int {
    call_in_context("cuCtxSynchronize", |state, context| {
        state.forbid_capture_in(context)?;
        state.synchronize_context(context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetFlags(flags: Out<c_uint>) -> c_int {
    call_in_context("cuCtxGetFlags", |state, context| flags.set(state.context(context)?.flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(flags: c_uint) -> c_int {
    call_in_context("cuCtxSetFlags", |state, context| {
        state.context(context)?.flags = flags;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) -> c_int {
    call_in_context("cuCtxGetStreamPriorityRange", |_, _| {
        least.set_if_wanted(PRIORITIES.0);
        greatest.set_if_wanted(PRIORITIES.1);
        Ok(())
    })
}

/// How a thread waits and how much goes to caches changes no result; the rest has no meaning here.
#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCacheConfig(_configuration: c_int) -> c_int {
    call_in_context("cuCtxSetCacheConfig", |_, _| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerStart() -> c_int {
    call_in_context("cuProfilerStart", |_, _| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerStop() -> c_int {
    call_in_context("cuProfilerStop", |_, _| Ok(()))
}
