//! Initialisation, the device and its properties, error texts.

use std::ffi::{CStr, c_char, c_int, c_uint};

use crate::{
    launch::{MAX_BLOCK, MAX_GRID},
    pointer::Out,
    state::{self, State, call},
    status::{self, Result, Status},
};

/// `CUDA 13.0` as `cuDriverGetVersion` tells it.
const DRIVER_VERSION: c_int = 13_000;

const NAME: &CStr = c"NVIDIA Thor (virtual)";

/// The device's identity, in the form of random UUIDs; the same in every process.
const UUID: [u8; 16] = *b"\x76\x67\x70\x75\x00\x00\x41\x10\x80\x00\x00\x00\x00\x00\x00\x00";

/// The only device.
const DEVICE: c_int = 0;

fn check(device: c_int) -> Result<()> {
    if device == DEVICE { Ok(()) } else { Err(Status::InvalidDevice) }
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: c_uint) -> c_int {
    if flags != 0 {
        return Status::InvalidValue as c_int;
    }
    status::code(state::initialise())
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Out<c_int>) -> c_int {
    status::code(version.set(DRIVER_VERSION))
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(error: c_int, name: Out<*const c_char>) -> c_int {
    status::code(match status::describe(error) {
        Some((symbol, _)) => name.set(symbol.as_ptr()),
        None => Err(Status::InvalidValue),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(error: c_int, text: Out<*const c_char>) -> c_int {
    status::code(match status::describe(error) {
        Some((_, words)) => text.set(words.as_ptr()),
        None => Err(Status::InvalidValue),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: Out<c_int>) -> c_int {
    call("cuDeviceGetCount", |_| count.set(1))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) -> c_int {
    call("cuDeviceGet", |_| {
        check(ordinal)?;
        device.set(DEVICE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(name: Out<c_char>, room: c_int, device: c_int) -> c_int {
    call("cuDeviceGetName", |_| {
        check(device)?;
        name.set_text(NAME, usize::try_from(room).map_err(|_| Status::InvalidValue)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) -> c_int {
    call("cuDeviceGetUuid", |_| {
        check(device)?;
        uuid.set(UUID)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) -> c_int {
    cuDeviceGetUuid(uuid, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) -> c_int {
    call("cuDeviceTotalMem_v2", |state| {
        check(device)?;
        bytes.set(state.gpu.memory().info().total as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) -> c_int {
    call("cuDeviceGetAttribute", |state| {
        check(device)?;
        value.set(state.attribute(attribute)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) -> c_int {
    call("cuDeviceCanAccessPeer", |_| {
        check(device)?;
        check(peer)?;
        can.set(0)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetDefaultMemPool(pool: Out<usize>, device: c_int) -> c_int {
    call("cuDeviceGetDefaultMemPool", |state| {
        check(device)?;
        pool.set(state.default_pool())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetMemPool(pool: Out<usize>, device: c_int) -> c_int {
    call("cuDeviceGetMemPool", |state| {
        check(device)?;
        pool.set(state.current_pool())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceSetMemPool(device: c_int, pool: usize) -> c_int {
    call("cuDeviceSetMemPool", |state| {
        check(device)?;
        state.set_current_pool(pool)
    })
}

impl State {
    /// `CUdevice_attribute`: limits are those of the simulated device; of what it has not, such as
    /// textures, every size is 0.
    fn attribute(&self, attribute: c_int) -> Result<c_int> {
        let device = &self.gpu.config().device;
        let number = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
        Ok(match attribute {
            1 => number(device.max_threads_per_block),
            2..=4 => number(MAX_BLOCK[attribute as usize - 2]),
            5..=7 => number(MAX_GRID[attribute as usize - 5]),
            8 => number(device.shared_per_block),
            9 => 64 << 10,
            10 => 32,
            11 => c_int::MAX,
            12 | 82 => number(device.registers_per_multiprocessor),
            // Kilohertz; one tick of the memory clock moves two words of the bus.
            13 => (device.clock_hz / 1e3) as c_int,
            36 => (device.memory_bandwidth / f64::from(MEMORY_BUS_BYTES) / 2e3) as c_int,
            37 => 8 * MEMORY_BUS_BYTES,
            38 => 32 << 20,
            39 => number(device.max_threads_per_multiprocessor),
            14 => 512,
            16 => number(device.multiprocessors),
            // Overlap, integrated, host mapping, concurrent kernels, unified addresses, stream
            // priorities, caching of globals and locals, managed memory, pageable access (and by
            // the host's page tables), concurrent managed access, cooperative launches, memory
            // pools.
            15 | 18 | 19 | 31 | 40 | 41 | 78 | 79 | 80 | 83 | 89 | 95 | 115 => 1,
            75 => 11,
            81 => number(device.shared_per_multiprocessor),
            87 => 64,
            97 => number(device.shared_per_block_optin),
            106 => number(device.max_blocks_per_multiprocessor),
            111 => number(device.shared_reserved_per_block),
            other if (1..=150).contains(&other) => 0,
            _ => return Err(Status::InvalidValue),
        })
    }
}

/// Width of Thor's memory bus (256 bits of LPDDR5X).
const MEMORY_BUS_BYTES: c_int = 32;
