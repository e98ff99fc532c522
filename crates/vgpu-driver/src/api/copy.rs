//! Copies and fills. Those without a stream run in the legacy default stream and are waited for.

use std::ffi::c_int;

use vgpu::Kind;

use crate::{
    pointer::HostMemory,
    state::{State, call_in_context},
    status::Result,
    work::{Place, Work},
};

/// The legacy default stream.
const LEGACY: usize = 0;

impl State {
    /// Runs something in the legacy stream and waits for it, which no capture allows.
    fn at_once(
        &mut self,
        context: usize,
        body: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.forbid_implicit_order(context)?;
        self.forbid_in_capture()?;
        body(self)?;
        self.synchronize(context, LEGACY)
    }

    /// A copy whose ends tell by their addresses what they are (`cuMemcpy`).
    fn copy_any(
        &mut self,
        context: usize,
        to: u64,
        from: u64,
        bytes: usize,
        stream: usize,
    ) -> Result<()> {
        let on_device = |state: &Self, address| {
            let found = state.gpu.memory().find(address);
            found.is_some_and(|allocation| allocation.kind != Kind::Host)
        };
        match (on_device(self, to), on_device(self, from)) {
            (true, true) => self.copy_within(context, (to, from, bytes), stream),
            (true, false) => self.copy_in(context, (to, HostMemory::at(from), bytes), stream),
            (false, true) => self.copy_out(context, (HostMemory::at(to), from, bytes), stream),
            (false, false) => {
                let (to, from) = (HostMemory::at(to), HostMemory::at(from));
                let work = Work::Copy { to: Place::Host(to), from: Place::Host(from), bytes };
                self.submit(context, stream, work)
            }
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoD_v2(to: u64, from: HostMemory, bytes: usize) -> c_int {
    call_in_context("cuMemcpyHtoD_v2", |state, context| {
        state.at_once(context, |state| state.copy_in(context, (to, from, bytes), LEGACY))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: HostMemory,
    bytes: usize,
    stream: usize,
) -> c_int {
    call_in_context("cuMemcpyHtoDAsync_v2", |state, context| {
        state.copy_in(context, (to, from, bytes), stream)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoH_v2(to: HostMemory, from: u64, bytes: usize) -> c_int {
    call_in_context("cuMemcpyDtoH_v2", |state, context| {
        state.at_once(context, |state| state.copy_out(context, (to, from, bytes), LEGACY))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(
    to: HostMemory,
    from: u64,
    bytes: usize,
    stream: usize,
) -> c_int {
    call_in_context("cuMemcpyDtoHAsync_v2", |state, context| {
        state.copy_out(context, (to, from, bytes), stream)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> c_int {
    call_in_context("cuMemcpyDtoD_v2", |state, context| {
        state.at_once(context, |state| state.copy_within(context, (to, from, bytes), LEGACY))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> c_int {
    call_in_context("cuMemcpyDtoDAsync_v2", |state, context| {
        state.copy_within(context, (to, from, bytes), stream)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    to_context: usize,
    from: u64,
    from_context: usize,
    bytes: usize,
    stream: usize,
) -> c_int {
    call_in_context("cuMemcpyPeerAsync", |state, context| {
        state.context(to_context)?;
        state.context(from_context)?;
        state.copy_within(context, (to, from, bytes), stream)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy(to: u64, from: u64, bytes: usize) -> c_int {
    call_in_context("cuMemcpy", |state, context| {
        state.at_once(context, |state| state.copy_any(context, to, from, bytes, LEGACY))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: usize) -> c_int {
    call_in_context("cuMemcpyAsync", |state, context| {
        state.copy_any(context, to, from, bytes, stream)
    })
}

/// A fill without a stream does not make the host wait; everything that follows does.
fn fill_at_once(name: &'static str, address: u64, pattern: &[u8], count: usize) -> c_int {
    call_in_context(name, |state, context| {
        state.forbid_implicit_order(context)?;
        state.forbid_in_capture()?;
        state.fill(context, address, (pattern, count as u64), LEGACY)
    })
}

fn fill(name: &'static str, address: u64, pattern: &[u8], count: usize, stream: usize) -> c_int {
    call_in_context(name, |state, context| {
        state.fill(context, address, (pattern, count as u64), stream)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(address: u64, value: u8, count: usize) -> c_int {
    fill_at_once("cuMemsetD8_v2", address, &[value], count)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16_v2(address: u64, value: u16, count: usize) -> c_int {
    fill_at_once("cuMemsetD16_v2", address, &value.to_le_bytes(), count)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32_v2(address: u64, value: u32, count: usize) -> c_int {
    fill_at_once("cuMemsetD32_v2", address, &value.to_le_bytes(), count)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(address: u64, value: u8, count: usize, stream: usize) -> c_int {
    fill("cuMemsetD8Async", address, &[value], count, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16Async(address: u64, value: u16, count: usize, stream: usize) -> c_int {
    fill("cuMemsetD16Async", address, &value.to_le_bytes(), count, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(address: u64, value: u32, count: usize, stream: usize) -> c_int {
    fill("cuMemsetD32Async", address, &value.to_le_bytes(), count, stream)
}
