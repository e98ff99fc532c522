//! Allocation of device, host and managed memory; pools; what a pointer points to.

use std::ffi::{c_int, c_uint};

use vgpu::Kind;

use crate::{
    pointer::{In, Out},
    state::{State, call, call_in_context},
    status::{Result, Status},
};

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> c_int {
    call_in_context("cuMemGetInfo_v2", |state, _| {
        let info = state.gpu.memory().info();
        free.set(info.free as usize)?;
        total.set(info.total as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(pointer: Out<u64>, bytes: usize) -> c_int {
    call_in_context("cuMemAlloc_v2", |state, context| {
        pointer.set(state.allocate(context, bytes as u64, Kind::Device)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(pointer: u64) -> c_int {
    call_in_context("cuMemFree_v2", |state, context| state.free(context, pointer))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocAsync(pointer: Out<u64>, bytes: usize, stream: usize) -> c_int {
    call_in_context("cuMemAllocAsync", |state, context| {
        pointer.set(state.allocate_async(context, bytes as u64, None, stream)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocFromPoolAsync(
    pointer: Out<u64>,
    bytes: usize,
    pool: usize,
    stream: usize,
) -> c_int {
    call_in_context("cuMemAllocFromPoolAsync", |state, context| {
        state.pool(pool)?;
        pointer.set(state.allocate_async(context, bytes as u64, Some(pool), stream)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(pointer: u64, stream: usize) -> c_int {
    call_in_context("cuMemFreeAsync", |state, context| state.free_async(context, pointer, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocManaged(pointer: Out<u64>, bytes: usize, flags: c_uint) -> c_int {
    const ATTACH_GLOBAL: c_uint = 1;
    const ATTACH_HOST: c_uint = 2;
    call_in_context("cuMemAllocManaged", |state, context| {
        if flags != ATTACH_GLOBAL && flags != ATTACH_HOST {
            return Err(Status::InvalidValue);
        }
        pointer.set(state.allocate(context, bytes as u64, Kind::Managed)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(pointer: Out<u64>, bytes: usize, flags: c_uint) -> c_int {
    // Portable, mapped, write-combined.
    const KNOWN: c_uint = 7;
    call_in_context("cuMemHostAlloc", |state, context| {
        if flags & !KNOWN != 0 {
            return Err(Status::InvalidValue);
        }
        pointer.set(state.allocate(context, bytes as u64, Kind::Host)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocHost_v2(pointer: Out<u64>, bytes: usize) -> c_int {
    cuMemHostAlloc(pointer, bytes, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(pointer: u64) -> c_int {
    call_in_context("cuMemFreeHost", |state, context| state.free_host(context, pointer))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostGetDevicePointer_v2(device: Out<u64>, host: u64, flags: c_uint) -> c_int {
    call_in_context("cuMemHostGetDevicePointer_v2", |state, _| {
        let found = state.gpu.memory().find(host);
        let pinned = found.is_some_and(|allocation| allocation.kind == Kind::Host);
        if flags != 0 || !pinned {
            return Err(Status::InvalidValue);
        }
        device.set(host)
    })
}

/// Advice and prefetching change where managed memory lies, not what is in it.
#[unsafe(no_mangle)]
extern "C" fn cuMemAdvise_v2(pointer: u64, bytes: usize, _advice: c_int, _location: u64) -> c_int {
    call_in_context("cuMemAdvise_v2", |state, _| state.check_managed(pointer, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPrefetchAsync_v2(
    pointer: u64,
    bytes: usize,
    _location: u64,
    _flags: c_uint,
    stream: usize,
) -> c_int {
    call_in_context("cuMemPrefetchAsync_v2", |state, context| {
        state.check_managed(pointer, bytes)?;
        state.submit(context, stream, crate::work::Work::Marker)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamAttachMemAsync(
    stream: usize,
    pointer: u64,
    bytes: usize,
    _flags: c_uint,
) -> c_int {
    call_in_context("cuStreamAttachMemAsync", |state, context| {
        state.check_managed(pointer, bytes)?;
        state.submit(context, stream, crate::work::Work::Marker)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, pointer: u64) -> c_int {
    call_in_context("cuMemGetAddressRange_v2", |state, _| {
        let found = state.gpu.memory().find(pointer).ok_or(Status::NotFound)?;
        base.set_if_wanted(found.address);
        bytes.set_if_wanted(found.bytes as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttribute(value: Out<u64>, attribute: c_int, pointer: u64) -> c_int {
    const MEMORY_TYPE: c_int = 2;
    const DEVICE_POINTER: c_int = 3;
    const HOST_POINTER: c_int = 4;
    const IS_MANAGED: c_int = 8;
    const DEVICE_ORDINAL: c_int = 9;
    const RANGE_START: c_int = 11;
    const RANGE_BYTES: c_int = 12;
    const HOST: u32 = 1;
    const DEVICE: u32 = 2;
    call_in_context("cuPointerGetAttribute", |state, _| {
        let found = state.gpu.memory().find(pointer).ok_or(Status::InvalidValue)?;
        let host = matches!(found.kind, Kind::Host | Kind::Managed);
        match attribute {
            MEMORY_TYPE => value.cast().set(if found.kind == Kind::Host { HOST } else { DEVICE }),
            DEVICE_POINTER => value.set(pointer),
            HOST_POINTER if host => value.set(pointer),
            IS_MANAGED => value.cast().set(u32::from(found.kind == Kind::Managed)),
            DEVICE_ORDINAL => value.cast().set(0_u32),
            RANGE_START => value.set(found.address),
            RANGE_BYTES => value.set(found.bytes),
            _ => Err(Status::InvalidValue),
        }
    })
}

/// `CUmemPoolProps`, as far as it is looked at.
#[derive(Clone, Copy)]
#[repr(C)]
struct PoolProperties {
    allocation_type: c_int,
    handle_types: c_int,
    location_type: c_int,
    location: c_int,
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolCreate(pool: Out<usize>, properties: In<PoolProperties>) -> c_int {
    const PINNED: c_int = 1;
    const ON_DEVICE: c_int = 1;
    call("cuMemPoolCreate", |state| {
        let properties = properties.get()?;
        if properties.allocation_type != PINNED || properties.location != 0 {
            return Err(Status::InvalidValue);
        }
        if properties.handle_types != 0 || properties.location_type != ON_DEVICE {
            return Err(Status::NotSupported);
        }
        pool.set(state.create_pool())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolDestroy(pool: usize) -> c_int {
    call("cuMemPoolDestroy", |state| state.destroy_pool(pool))
}

/// Freed memory of a pool always goes back at once, so there is nothing to trim.
#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(pool: usize, _keep: usize) -> c_int {
    call("cuMemPoolTrimTo", |state| state.pool(pool).map(|_| ()))
}

const RELEASE_THRESHOLD: c_int = 4;
const RESERVED_HIGH: c_int = 6;
const USED_HIGH: c_int = 8;

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolGetAttribute(pool: usize, attribute: c_int, value: Out<u64>) -> c_int {
    const RESERVED: c_int = 5;
    const USED: c_int = 7;
    call("cuMemPoolGetAttribute", |state| {
        let pool = state.pool(pool)?;
        match attribute {
            1..=3 => value.cast().set(pool.reuse[attribute as usize - 1]),
            RELEASE_THRESHOLD => value.set(pool.release_threshold),
            RESERVED | USED => value.set(pool.used),
            RESERVED_HIGH | USED_HIGH => value.set(pool.used_high),
            _ => Err(Status::InvalidValue),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAttribute(pool: usize, attribute: c_int, value: In<u64>) -> c_int {
    call("cuMemPoolSetAttribute", |state| {
        let pool = state.pool(pool)?;
        match attribute {
            1..=3 => pool.reuse[attribute as usize - 1] = value.cast::<c_int>().get()?,
            RELEASE_THRESHOLD => pool.release_threshold = value.get()?,
            // A high-water mark can be set back only.
            RESERVED_HIGH | USED_HIGH if value.get()? == 0 => pool.used_high = pool.used,
            _ => return Err(Status::InvalidValue),
        }
        Ok(())
    })
}

impl State {
    fn check_managed(&mut self, pointer: u64, bytes: usize) -> Result<()> {
        let found = self.gpu.memory().find(pointer).ok_or(Status::InvalidValue)?;
        if found.kind != Kind::Managed {
            return Err(Status::InvalidValue);
        }
        self.check_range("managed memory", pointer, bytes as u64)
    }
}
