//! What memory requests of a warp cost.

use super::block::Block;
use crate::counters::SpaceTraffic;
use crate::decode::reader::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::program::Space;
use crate::registers::{LANES, lanes};

/// Bytes that global memory moves at least.
const SECTOR: u64 = 32;
/// Banks of shared memory, four bytes wide.
const BANKS: usize = 32;

impl Block<'_> {
    /// Counts one request.
    pub(super) fn count_traffic(
        &mut self,
        space: Space,
        addresses: &[u64; LANES],
        active: u32,
        bytes: u32,
        store: bool,
    ) {
        let first = addresses[active.trailing_zeros() as usize & 31];
        let space = match space {
            Space::Generic if first < SHARED_WINDOW => Space::Global,
            Space::Generic if first < LOCAL_WINDOW => Space::Shared,
            Space::Generic => Space::Local,
            other => other,
        };
        let counters = &mut self.counters;
        let (traffic, units) = match space {
            Space::Global => (&mut counters.global, sectors(addresses, active, bytes)),
            Space::Shared => (&mut counters.shared, waves(addresses, active, bytes)),
            Space::Local => (&mut counters.local, 0),
            _ => return,
        };
        add(traffic, u64::from(active.count_ones() * bytes), units, store);
    }
}

fn add(traffic: &mut SpaceTraffic, bytes: u64, units: u64, store: bool) {
    if store {
        traffic.store_requests += 1;
        traffic.store_bytes += bytes;
        traffic.store_units += units;
    } else {
        traffic.load_requests += 1;
        traffic.load_bytes += bytes;
        traffic.load_units += units;
    }
}

/// Different sectors that a request touches.
pub(super) fn sectors(addresses: &[u64; LANES], active: u32, bytes: u32) -> u64 {
    let mut touched: Vec<u64> = lanes(active)
        .flat_map(|lane| {
            let last = addresses[lane] + u64::from(bytes) - 1;
            addresses[lane] / SECTOR..=last / SECTOR
        })
        .collect();
    touched.sort_unstable();
    touched.dedup();
    touched.len() as u64
}

/// Waves that a request takes: a wave serves each bank once, and lanes that want the same word
/// share. Accesses of 8 bytes go by half warps, of 16 by quarters.
pub(super) fn waves(addresses: &[u64; LANES], active: u32, bytes: u32) -> u64 {
    let group = match bytes {
        0..=4 => 32,
        5..=8 => 16,
        _ => 8,
    };
    let mut total = 0;
    for start in (0..LANES).step_by(group) {
        let mask = active & (u32::MAX >> (32 - group) << start);
        let mut words: Vec<u64> = lanes(mask)
            .flat_map(|lane| addresses[lane] / 4..=(addresses[lane] + u64::from(bytes) - 1) / 4)
            .collect();
        words.sort_unstable();
        words.dedup();
        let mut load = [0u64; BANKS];
        for word in words {
            load[word as usize % BANKS] += 1;
        }
        total += load.into_iter().max().unwrap_or(0);
    }
    total
}
