//! Whether a device can run a launch, and how many of its CTAs at a time.

use crate::config::Device;
use crate::gpu::Launch;
use crate::program::Program;

/// Registers are given to warps in units of this many.
const REGISTER_UNIT: u32 = 256;

/// Grid limits in x, y, z (CUDA programming guide, compute capability 3.0 and above).
const GRID: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

/// Block limits in x, y, z.
const BLOCK: [u32; 3] = [1024, 1024, 64];

/// CTAs that one SM holds, or what makes the launch impossible.
pub(crate) fn check(
    device: &Device,
    program: &Program,
    launch: &Launch,
    parameter_bytes: usize,
) -> Result<u32, String> {
    for axis in 0..3 {
        if launch.grid[axis] == 0 || launch.grid[axis] > GRID[axis] {
            return Err(format!("grid {:?} is not in 1..={GRID:?}", launch.grid));
        }
        if launch.block[axis] == 0 || launch.block[axis] > BLOCK[axis] {
            return Err(format!("block {:?} is not in 1..={BLOCK:?}", launch.block));
        }
    }
    if parameter_bytes != program.parameter_bytes {
        return Err(format!(
            "{parameter_bytes} bytes of parameters where the kernel takes {}",
            program.parameter_bytes
        ));
    }
    let threads: u32 = launch.block.iter().product();
    check_threads(device, program, launch, threads)?;
    check_shared(device, program, launch)?;
    let resident = resident_blocks(device, program, launch, threads)?;
    let blocks: u64 = launch.grid.iter().map(|&n| u64::from(n)).product();
    let places = u64::from(resident) * u64::from(device.multiprocessors);
    if launch.cooperative && blocks > places {
        return Err(format!("cooperative launch of {blocks} CTAs where {places} are resident"));
    }
    Ok(resident)
}

fn check_threads(
    device: &Device,
    program: &Program,
    launch: &Launch,
    threads: u32,
) -> Result<(), String> {
    if threads > device.max_threads_per_block {
        return Err(format!("{threads} threads, at most {}", device.max_threads_per_block));
    }
    if let Some(limit) = program.bounds.max_threads {
        let most: u32 = limit.iter().product();
        if threads > most {
            return Err(format!("{threads} threads where .maxntid allows {most}"));
        }
    }
    match program.bounds.required_threads {
        Some(required) if required != launch.block => {
            Err(format!("block {:?} where .reqntid is {required:?}", launch.block))
        }
        _ => Ok(()),
    }
}

fn check_shared(device: &Device, program: &Program, launch: &Launch) -> Result<(), String> {
    let (fixed, dynamic) = (program.static_shared, launch.dynamic_shared_bytes);
    if fixed > device.shared_per_block {
        return Err(format!(
            "{fixed} bytes of static shared memory, at most {}",
            device.shared_per_block
        ));
    }
    let limit = launch.max_dynamic_shared_bytes.unwrap_or(device.shared_per_block - fixed);
    if dynamic > limit {
        return Err(format!(
            "{dynamic} bytes of dynamic shared memory where the kernel may have {limit} \
             (raise its opt-in limit)"
        ));
    }
    if u64::from(fixed) + u64::from(dynamic) > u64::from(device.shared_per_block_optin) {
        return Err(format!(
            "{fixed} + {dynamic} bytes of shared memory, at most {}",
            device.shared_per_block_optin
        ));
    }
    Ok(())
}

/// CTAs of this launch that one SM holds at a time.
fn resident_blocks(
    device: &Device,
    program: &Program,
    launch: &Launch,
    threads: u32,
) -> Result<u32, String> {
    let warps = threads.div_ceil(32);
    let by_threads = device.max_threads_per_multiprocessor / (warps * 32);
    let shared =
        program.static_shared + launch.dynamic_shared_bytes + device.shared_reserved_per_block;
    let by_shared = device.shared_per_multiprocessor / shared;
    let mut resident = by_threads.min(by_shared).min(device.max_blocks_per_multiprocessor);
    if let Some(registers) = launch.registers_per_thread.or(program.bounds.max_registers) {
        let per_warp = (registers.max(1) * 32).next_multiple_of(REGISTER_UNIT);
        // Each of the four partitions of an SM holds whole warps.
        let warps_per_partition = device.registers_per_multiprocessor / 4 / per_warp;
        let by_registers = 4 * warps_per_partition / warps;
        if by_registers == 0 {
            return Err(format!(
                "{threads} threads of {registers} registers exceed the {} of an SM",
                device.registers_per_multiprocessor
            ));
        }
        resident = resident.min(by_registers);
    }
    Ok(resident)
}
