//! Special registers (PTX ISA, "Special Registers") whose value is fixed for a thread.

use super::Env;
use crate::program::{LaneMask, Special};

/// What all threads of a CTA read from a special register; none where it is the same in all CTAs.
pub(super) fn of_block(env: &Env<'_>, block: [u32; 3], special: Special) -> Option<u32> {
    match special {
        Special::Ctaid(axis) => Some(block[axis]),
        Special::SmId => Some(block[0] % env.config.device.multiprocessors),
        _ => None,
    }
}

/// What a lane of a warp reads from a special register; 0 where the CTA decides.
pub(super) fn of_lane(env: &Env<'_>, warp: u32, special: Special, lane: u32) -> u32 {
    let launch = env.launch;
    let thread = warp * 32 + lane;
    let [width, height, _] = launch.block;
    match special {
        Special::Tid(0) => thread % width,
        Special::Tid(1) => thread / width % height,
        Special::Tid(_) => thread / width / height,
        Special::Ntid(axis) => launch.block[axis],
        Special::Nctaid(axis) => launch.grid[axis],
        Special::LaneId => lane,
        Special::WarpId => warp,
        Special::WarpCount => env.config.device.max_threads_per_multiprocessor / 32,
        Special::SmCount => env.config.device.multiprocessors,
        Special::DynamicShared => launch.dynamic_shared_bytes,
        Special::TotalShared => env.program.static_shared + launch.dynamic_shared_bytes,
        Special::Ctaid(_) | Special::SmId | Special::GridId | Special::Zero => 0,
        Special::One => 1,
        Special::LaneMask(LaneMask::Eq) => 1 << lane,
        Special::LaneMask(LaneMask::Lt) => (1 << lane) - 1,
        Special::LaneMask(LaneMask::Le) => u32::MAX >> (31 - lane),
        Special::LaneMask(LaneMask::Gt) => !(u32::MAX >> (31 - lane)),
        Special::LaneMask(LaneMask::Ge) => u32::MAX << lane,
    }
}
