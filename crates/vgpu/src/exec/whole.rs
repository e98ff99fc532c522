//! Requests whose lanes want bytes side by side, or all the same bytes, of global or shared memory,
//! and parameters: checked once for all lanes. Whatever else a request is, faults included, goes lane
//! by lane.
#![allow(unsafe_code, reason = "a loop is compiled twice, for processors with wider vectors")]
#![allow(clippy::inline_always, reason = "it takes the vector width of the function it is in")]

use super::access::Place;
use super::block::Block;
use super::warp::Warp;
use crate::check::{Access as Touch, Use};
use crate::decode::reader::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::memory::state;
use crate::program::{Access, Space};
use crate::registers::{LANES, Slot, lanes};

/// What the active lanes want together. It lies in one piece of memory that they may touch.
#[derive(Debug, Clone, Copy)]
struct Whole {
    place: Place,
    /// From one lane to the next; 0 if all want the same.
    stride: u32,
    /// First active lane.
    first: usize,
    /// Bits that the states of all bytes share.
    state: u8,
}

impl Whole {
    /// Where a lane's bytes begin.
    fn of_lane(&self, lane: usize) -> Place {
        self.place.offset(self.stride * (lane - self.first) as u32)
    }
}

/// Whether the active lanes want `bytes` bytes each, side by side.
#[inline]
fn are_beside(addresses: &[u64; LANES], active: u32, bytes: u32) -> bool {
    let first = active.trailing_zeros();
    let run = active >> first;
    if run & run.wrapping_add(1) != 0 {
        return false;
    }
    let bytes = u64::from(bytes);
    let origin = addresses[first as usize & 31].wrapping_sub(bytes * u64::from(first));
    agree(addresses, active, origin, bytes)
}

/// Whether the active lanes have the addresses `origin`, `origin + stride` and so on.
#[inline]
fn agree(addresses: &[u64; LANES], active: u32, origin: u64, stride: u64) -> bool {
    let differs = |lane: usize| addresses[lane] ^ origin.wrapping_add(stride * lane as u64);
    if active != u32::MAX {
        return lanes(active).all(|lane| differs(lane) == 0);
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature.
        return unsafe { all_agree_avx2(addresses, origin, stride) };
    }
    all_agree(addresses, origin, stride)
}

/// The same loop, compiled for wider vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn all_agree_avx2(addresses: &[u64; LANES], origin: u64, stride: u64) -> bool {
    all_agree(addresses, origin, stride)
}

#[inline(always)]
fn all_agree(addresses: &[u64; LANES], origin: u64, stride: u64) -> bool {
    let (mut differ, mut expected) = (0, origin);
    for address in addresses {
        differ |= address ^ expected;
        expected = expected.wrapping_add(stride);
    }
    differ == 0
}

/// Gives all active lanes the same value.
#[inline]
fn fill(warp: &mut Warp, access: &Access, slot: Slot, bits: u64, active: u32) {
    if access.wide {
        warp.registers.set_wide(slot, active, &[bits; LANES]);
    } else {
        warp.registers.set_narrow(slot, active, &[bits as u32; LANES]);
    }
}

impl Block<'_> {
    /// Finds out whether a request is one of those that are dealt with at once.
    #[inline]
    fn whole(&self, warp: &Warp, access: &Access, active: u32, write: bool) -> Option<Whole> {
        let bytes = access.kind.bytes() * access.values.len() as u32;
        let computed;
        let (addresses, offset) = match access.address.base {
            // The offset is the same for all lanes: it need not be added to each.
            Some(slot) if access.address.wide => {
                (warp.registers.wide(slot), access.address.offset as u64)
            }
            _ => {
                computed = warp.addresses(&access.address);
                (&computed, 0)
            }
        };
        let first = active.trailing_zeros() as usize & 31;
        let start = addresses[first].wrapping_add(offset);
        let (shared, start) = match access.space {
            Space::Global | Space::Const => (false, start),
            Space::Shared => (true, start),
            Space::Generic if start < SHARED_WINDOW => (false, start),
            Space::Generic if start < LOCAL_WINDOW => (true, start - SHARED_WINDOW),
            _ => return None,
        };
        if !start.is_multiple_of(u64::from(bytes)) {
            return None;
        }
        let (stride, span) = if are_beside(addresses, active, bytes) {
            (bytes, bytes * active.count_ones())
        } else if !write && agree(addresses, active, addresses[first], 0) {
            (0, bytes)
        } else {
            return None;
        };
        if shared {
            let (at, end) = (start as usize, start as usize + span as usize);
            if end > self.shared.len() {
                return None;
            }
            let defined = self.shared_defined.get(at..end).is_none_or(|all| all.iter().all(|&d| d));
            let state = state::ALLOCATED | if defined { state::DEFINED } else { 0 };
            return Some(Whole { place: Place::Shared(at), stride, first, state });
        }
        let arena = self.env.memory.arena();
        let in_words = start.is_multiple_of(4) && span.is_multiple_of(4);
        if !in_words || !arena.contains(start, u64::from(span)) {
            return None;
        }
        let (all, any) = arena.states(start, span);
        let allocated = all & state::ALLOCATED != 0 || !self.env.config.checks.bounds;
        if !allocated || write && any & state::CONSTANT != 0 {
            return None;
        }
        Some(Whole { place: Place::Global(start), stride, first, state: all })
    }

    /// Whether another access to these bytes is unordered, or something else has to be told lane
    /// by lane.
    #[inline]
    fn is_race(&mut self, warp: &Warp, whole: &Whole, active: u32, bytes: u32, usage: Use) -> bool {
        let pc = self.pc;
        let span = if whole.stride == 0 { bytes } else { bytes * active.count_ones() };
        match whole.place {
            Place::Global(address) => {
                let touch = Touch { address, bytes: span, usage, pc };
                if !self.bulk.is_empty() && self.in_flight(address, span).is_some() {
                    return true;
                }
                self.env.with_races(|races| races.access(self.number, touch)).flatten().is_some()
            }
            Place::Shared(at)
                if self.env.config.checks.any() && self.touches_mbarrier(at, span) =>
            {
                true
            }
            Place::Shared(at) => self.races.as_mut().is_some_and(|races| {
                lanes(active).any(|lane| {
                    let address = at as u64 + u64::from(whole.stride) * (lane - whole.first) as u64;
                    races.access(warp.thread(lane), Touch { address, bytes, usage, pc }).is_some()
                })
            }),
            _ => false,
        }
    }

    /// Loads a parameter by its name; returns whether that is what the instruction does.
    #[inline]
    pub(super) fn load_parameter(&self, warp: &mut Warp, access: &Access, active: u32) -> bool {
        let ([Some(slot)], Space::Param, None) =
            (&access.values[..], access.space, access.address.base)
        else {
            return false;
        };
        let (size, at) = (access.kind.bytes(), access.address.offset as u64);
        let inside = at.saturating_add(u64::from(size)) <= self.env.params.len() as u64;
        if !inside || !at.is_multiple_of(u64::from(size)) {
            return false;
        }
        let bits = access.extend(self.read(warp, Place::Param(at as usize), size));
        fill(warp, access, *slot, bits, active);
        if self.undefined {
            warp.registers.defined[*slot as usize] |= active;
        }
        true
    }

    /// Loads for all lanes at once; returns whether it could.
    #[inline]
    pub(super) fn load_whole(&mut self, warp: &mut Warp, access: &Access, active: u32) -> bool {
        let size = access.kind.bytes();
        let bytes = size * access.values.len() as u32;
        if access.ordering.strong && self.watches() {
            return false;
        }
        let found = self.whole(warp, access, active, false);
        let Some(whole) = found else { return false };
        if self.is_race(warp, &whole, active, bytes, Use::Read) {
            return false;
        }
        for (index, value) in access.values.iter().enumerate() {
            let Some(slot) = *value else { continue };
            let part = Whole { place: whole.place.offset(index as u32 * size), ..whole };
            self.load_value(warp, access, slot, &part, active);
            if self.undefined {
                let state = &mut warp.registers.defined[slot as usize];
                *state |= active;
                if whole.state & state::DEFINED == 0 {
                    let unknown = lanes(active)
                        .filter(|&lane| !self.is_defined(warp, part.of_lane(lane), size))
                        .fold(0, |mask, lane| mask | 1 << lane);
                    warp.registers.defined[slot as usize] &= !unknown;
                }
            }
        }
        true
    }

    /// Loads one value of each lane.
    #[inline]
    fn load_value(&self, warp: &mut Warp, access: &Access, slot: Slot, whole: &Whole, active: u32) {
        let size = access.kind.bytes();
        if whole.stride == 4 && size == 4 && active == u32::MAX && !access.wide {
            let row = warp.registers.narrow_mut(slot);
            match whole.place {
                Place::Global(address) => return self.env.memory.arena().load_row(address, row),
                Place::Shared(at) => {
                    bytemuck::bytes_of_mut(row).copy_from_slice(&self.shared[at..at + 128]);
                    return;
                }
                _ => {}
            }
        }
        if whole.stride == 0 {
            let bits = access.extend(self.read(warp, whole.place, size));
            return fill(warp, access, slot, bits, active);
        }
        for lane in lanes(active) {
            let bits = self.read(warp, whole.of_lane(lane), size);
            warp.registers.set_lane(slot, access.wide, lane, access.extend(bits));
        }
    }

    /// Stores for all lanes at once; returns whether it could.
    #[inline]
    pub(super) fn store_whole(&mut self, warp: &mut Warp, access: &Access, active: u32) -> bool {
        let size = access.kind.bytes();
        let bytes = size * access.values.len() as u32;
        // Who writes what a bulk copy may not see is noted lane by lane.
        if access.ordering.strong && self.watches() || self.env.proxies.is_some() {
            return false;
        }
        let found = self.whole(warp, access, active, true);
        let Some(whole) = found else { return false };
        if self.undefined {
            let defined = access.values.iter().all(|value| {
                value.is_some_and(|slot| active & !warp.registers.defined[slot as usize] == 0)
            });
            if !defined || whole.state & state::ALLOCATED == 0 {
                return false;
            }
        }
        if self.is_race(warp, &whole, active, bytes, Use::Write) {
            return false;
        }
        if self.undefined && whole.state & state::DEFINED == 0 {
            let span = bytes * active.count_ones();
            match whole.place {
                Place::Global(start) => {
                    let states = state::ALLOCATED | state::DEFINED;
                    self.env.memory.arena().set_states(start, span, states);
                }
                place => self.set_defined(warp, place, span, true),
            }
        }
        if let [Some(slot)] = access.values[..]
            && active == u32::MAX
            && size == 4
            && !access.wide
        {
            let row = warp.registers.narrow(slot);
            match whole.place {
                Place::Global(start) => self.env.memory.arena().store_row(start, row),
                Place::Shared(at) => {
                    self.shared[at..at + 128].copy_from_slice(bytemuck::bytes_of(row));
                }
                _ => {}
            }
            return true;
        }
        for (index, value) in access.values.iter().enumerate() {
            let Some(slot) = *value else { continue };
            for lane in lanes(active) {
                let bits = warp.registers.lane(slot, access.wide, lane);
                self.write(warp, whole.of_lane(lane).offset(index as u32 * size), size, bits);
            }
        }
        true
    }
}
