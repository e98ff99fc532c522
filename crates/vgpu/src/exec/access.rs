//! Loads and stores: addresses, bounds, alignment, undefined bytes, races.

use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::proxy::Toucher;
use crate::check::{Access as Touch, Use};
use crate::decode::reader::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use crate::error::FaultKind;
use crate::memory::state;
use crate::program::{Access, Address, Space};
use crate::registers::{LANES, lanes};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Global(u64),
    Shared(usize),
    /// Index into the warp's local memory.
    Local(usize),
    Param(usize),
}

impl Warp {
    /// Addresses of all lanes.
    #[inline]
    pub(super) fn addresses(&self, address: &Address) -> [u64; LANES] {
        let offset = address.offset as u64;
        match address.base {
            None => [offset; LANES],
            Some(slot) if address.wide => {
                let base = self.registers.wide(slot);
                std::array::from_fn(|lane| base[lane].wrapping_add(offset))
            }
            Some(slot) => {
                let base = self.registers.narrow(slot);
                std::array::from_fn(|lane| u64::from(base[lane].wrapping_add(offset as u32)))
            }
        }
    }

    /// Thread of a lane in its CTA.
    pub(super) fn thread(&self, lane: usize) -> usize {
        self.index as usize * 32 + lane
    }
}

impl Block<'_> {
    /// Finds and checks the place of an access of `bytes` bytes.
    #[inline]
    pub(super) fn place(
        &self,
        warp: &Warp,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
        write: bool,
    ) -> Run<Place> {
        if !address.is_multiple_of(u64::from(bytes)) {
            let text = format!("{bytes} bytes at an address that is not a multiple of that");
            return trouble(FaultKind::Misaligned, lane, Some(address), text);
        }
        let (space, offset) = match space {
            Space::Generic if address < SHARED_WINDOW => (Space::Global, address),
            Space::Generic if address >= PARAM_WINDOW => (Space::Param, address - PARAM_WINDOW),
            Space::Generic if address >= LOCAL_WINDOW => (Space::Local, address - LOCAL_WINDOW),
            Space::Generic => (Space::Shared, address - SHARED_WINDOW),
            other => (other, address),
        };
        let end = offset.saturating_add(u64::from(bytes));
        let outside = |what: &str, size: usize| {
            let text = format!("{bytes} bytes outside the {size} bytes of {what}");
            trouble(FaultKind::OutOfBounds, lane, Some(address), text)
        };
        match space {
            Space::Shared if end > self.shared.len() as u64 => {
                outside("shared memory", self.shared.len())
            }
            Space::Shared => Ok(Place::Shared(offset as usize)),
            Space::Local => {
                let frame = warp.local.len() / LANES;
                if end > frame as u64 {
                    return outside("local memory", frame);
                }
                Ok(Place::Local(lane * frame + offset as usize))
            }
            Space::Param if end > self.env.params.len() as u64 => {
                outside("parameters", self.env.params.len())
            }
            Space::Param if write => {
                let text = "kernel parameters cannot be written";
                trouble(FaultKind::WriteToConstant, lane, Some(address), text)
            }
            Space::Param => Ok(Place::Param(offset as usize)),
            _ => self.global(lane, address, bytes, write),
        }
    }

    #[inline]
    fn global(&self, lane: usize, address: u64, bytes: u32, write: bool) -> Run<Place> {
        let arena = self.env.memory.arena();
        if !arena.contains(address, u64::from(bytes)) {
            return self.out_of_bounds(lane, address, bytes);
        }
        let bits = arena.common_state(address, bytes);
        if self.env.config.checks.bounds && bits & state::ALLOCATED == 0 {
            return self.out_of_bounds(lane, address, bytes);
        }
        if write && bits & state::CONSTANT != 0 {
            let text = "constant memory cannot be written";
            return trouble(FaultKind::WriteToConstant, lane, Some(address), text);
        }
        Ok(Place::Global(address))
    }

    #[cold]
    fn out_of_bounds(&self, lane: usize, address: u64, bytes: u32) -> Run<Place> {
        let memory = self.env.memory;
        if memory.was_freed(address) {
            let text = format!("{bytes} bytes in freed memory");
            return trouble(FaultKind::UseAfterFree, lane, Some(address), text);
        }
        let near = memory.find(address.wrapping_sub(1)).or_else(|| memory.find(address));
        let text = match near {
            Some(allocation) => format!(
                "{bytes} bytes reach beyond the {} bytes allocated at {:#x}",
                allocation.bytes, allocation.address
            ),
            None => format!("{bytes} bytes outside all memory"),
        };
        trouble(FaultKind::OutOfBounds, lane, Some(address), text)
    }

    /// Reads up to eight bytes.
    #[inline]
    pub(super) fn read(&self, warp: &Warp, place: Place, bytes: u32) -> u64 {
        let slice = |memory: &[u8], at: usize| little_endian(&memory[at..at + bytes as usize]);
        match place {
            Place::Global(address) => self.env.memory.arena().load(address, bytes),
            Place::Shared(at) => slice(&self.shared, at),
            Place::Local(at) => slice(&warp.local, at),
            Place::Param(at) => slice(self.env.params, at),
        }
    }

    /// Writes up to eight bytes.
    #[inline]
    pub(super) fn write(&mut self, warp: &mut Warp, place: Place, bytes: u32, value: u64) {
        let source = &value.to_le_bytes()[..bytes as usize];
        match place {
            Place::Global(address) => self.env.memory.arena().store(address, bytes, value),
            Place::Shared(at) => self.shared[at..at + bytes as usize].copy_from_slice(source),
            Place::Local(at) => warp.local[at..at + bytes as usize].copy_from_slice(source),
            // `place` refuses to write parameters.
            Place::Param(_) => {}
        }
    }

    /// Whether all bytes have been written.
    pub(super) fn is_defined(&self, warp: &Warp, place: Place, bytes: u32) -> bool {
        let all = |states: &[bool], at: usize| {
            states.is_empty() || states[at..at + bytes as usize].iter().all(|&defined| defined)
        };
        match place {
            Place::Global(address) => {
                self.env.memory.arena().common_state(address, bytes) & state::DEFINED != 0
            }
            Place::Shared(at) => all(&self.shared_defined, at),
            Place::Local(at) => all(&warp.local_defined, at),
            Place::Param(_) => true,
        }
    }

    /// Notes whether bytes hold a defined value.
    pub(super) fn set_defined(&mut self, warp: &mut Warp, place: Place, bytes: u32, value: bool) {
        match place {
            Place::Global(address) if self.env.memory.tracks_undefined() => {
                let bits = if value { state::DEFINED } else { 0 };
                for at in address..address + u64::from(bytes) {
                    self.env.memory.arena().set_state(at, bits, state::DEFINED);
                }
            }
            Place::Shared(at) if !self.shared_defined.is_empty() => {
                self.shared_defined[at..at + bytes as usize].fill(value);
            }
            Place::Local(at) if !warp.local_defined.is_empty() => {
                warp.local_defined[at..at + bytes as usize].fill(value);
            }
            _ => {}
        }
    }

    /// Looks for unordered accesses to the same bytes.
    pub(super) fn check_race(
        &mut self,
        warp: &Warp,
        lane: usize,
        place: Place,
        bytes: u32,
        usage: Use,
    ) -> Run<()> {
        match place {
            Place::Shared(at) => self.check_shared_race(warp, lane, at, bytes, usage),
            Place::Global(address) => {
                if usage.writes() && usage != Use::AsyncWrite && self.env.proxies.is_some() {
                    let by = self.toucher(warp, lane);
                    self.env.with_proxies(|proxies| proxies.write(by, address, bytes));
                }
                if self.env.config.checks.shared_races
                    && let Some(pc) = self.in_flight(address, bytes)
                {
                    let line = self.env.program.code.get(pc as usize).map_or(0, |i| i.line);
                    let text = format!("the bulk copy of PTX line {line} may still write there");
                    return trouble(FaultKind::AsyncRace, lane, Some(address), text);
                }
                let touch = Touch { address, bytes, usage, pc: self.pc };
                let found = self.env.with_races(|races| races.access(self.number, touch)).flatten();
                let Some(other) = found else { return Ok(()) };
                let line = self.env.program.code.get(other.pc as usize).map_or(0, |i| i.line);
                let text = format!(
                    "unordered with {} of CTA number {} (PTX line {line})",
                    other.what, other.block
                );
                trouble(FaultKind::GlobalRace, lane, Some(address), text)
            }
            _ => Ok(()),
        }
    }

    fn toucher(&mut self, warp: &Warp, lane: usize) -> Toucher {
        let thread = warp.thread(lane);
        let time = self.races.as_mut().map_or(0, |races| races.now(thread));
        Toucher { block: self.number, thread, time, pc: self.pc }
    }

    /// Whether a range of shared memory has bytes of an mbarrier.
    #[inline]
    pub(super) fn touches_mbarrier(&self, at: usize, bytes: u32) -> bool {
        let before = || self.mbarriers.range(..(at + bytes as usize) as u32).next_back();
        !self.mbarriers.is_empty() && before().is_some_and(|(&start, _)| start as usize + 8 > at)
    }

    pub(super) fn check_shared_race(
        &mut self,
        warp: &Warp,
        lane: usize,
        at: usize,
        bytes: u32,
        usage: Use,
    ) -> Run<()> {
        let checks = self.env.config.checks;
        if checks.any() && usage != Use::Mbarrier && self.touches_mbarrier(at, bytes) {
            let text = "an ordinary access to an mbarrier";
            return trouble(FaultKind::Mbarrier, lane, Some(at as u64), text);
        }
        let thread = warp.thread(lane);
        let pc = self.pc;
        let Some(races) = &mut self.races else { return Ok(()) };
        let touch = Touch { address: at as u64, bytes, usage, pc };
        let found = races.access(thread, touch).filter(|_| checks.shared_races);
        let Some(other) = found else { return Ok(()) };
        let line = self.env.program.code.get(other.pc as usize).map_or(0, |i| i.line);
        let text = format!("{} (PTX line {line}) is not ordered before it", other.what);
        trouble(other.kind, lane, Some(at as u64), text)
    }

    /// Whether accesses need more than the access itself.
    #[inline]
    pub(super) fn watches(&self) -> bool {
        self.undefined
            || self.races.is_some()
            || self.env.races.is_some()
            || self.env.proxies.is_some()
    }

    #[inline(never)]
    pub(super) fn load(&mut self, warp: &mut Warp, access: &Access, active: u32) -> Run<()> {
        if self.load_parameter(warp, access, active) {
            return Ok(());
        }
        let size = access.kind.bytes();
        let total = size * access.values.len() as u32;
        if self.env.config.counters {
            let addresses = warp.addresses(&access.address);
            self.count_traffic(access.space, &addresses, active, total, false);
        }
        if self.load_whole(warp, access, active) {
            return Ok(());
        }
        let addresses = warp.addresses(&access.address);
        let watches = self.watches();
        for lane in lanes(active) {
            let place = self.place(warp, lane, access.space, addresses[lane], total, false)?;
            if watches {
                let usage = if access.ordering.strong { Use::AtomicRead } else { Use::Read };
                self.check_race(warp, lane, place, total, usage)?;
                self.order(warp, lane, place, access.ordering);
            }
            for (index, value) in access.values.iter().enumerate() {
                let Some(slot) = *value else { continue };
                let part = place.offset(index as u32 * size);
                let bits = access.extend(self.read(warp, part, size));
                warp.registers.set_lane(slot, access.wide, lane, bits);
                if self.undefined {
                    let defined = u32::from(self.is_defined(warp, part, size));
                    let state = &mut warp.registers.defined[slot as usize];
                    *state = *state & !(1 << lane) | defined << lane;
                }
            }
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn store(&mut self, warp: &mut Warp, access: &Access, active: u32) -> Run<()> {
        let size = access.kind.bytes();
        let total = size * access.values.len() as u32;
        if self.env.config.counters {
            let addresses = warp.addresses(&access.address);
            self.count_traffic(access.space, &addresses, active, total, true);
        }
        if self.store_whole(warp, access, active) {
            return Ok(());
        }
        let addresses = warp.addresses(&access.address);
        let watches = self.watches();
        for lane in lanes(active) {
            let place = self.place(warp, lane, access.space, addresses[lane], total, true)?;
            if watches {
                let usage = if access.ordering.strong { Use::AtomicWrite } else { Use::Write };
                self.check_race(warp, lane, place, total, usage)?;
                self.order(warp, lane, place, access.ordering);
            }
            for (index, value) in access.values.iter().enumerate() {
                let Some(slot) = *value else { continue };
                let part = place.offset(index as u32 * size);
                let bits = warp.registers.lane(slot, access.wide, lane);
                if self.undefined {
                    let defined = warp.registers.defined[slot as usize] >> lane & 1 == 1;
                    self.set_defined(warp, part, size, defined);
                }
                self.write(warp, part, size, bits);
            }
        }
        Ok(())
    }
}

/// A number of up to eight bytes.
#[inline]
fn little_endian(bytes: &[u8]) -> u64 {
    // The common lengths each take one instruction.
    if let Ok(word) = bytes.try_into() {
        return u64::from(u32::from_le_bytes(word));
    }
    if let Ok(double) = bytes.try_into() {
        return u64::from_le_bytes(double);
    }
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

impl Place {
    /// The place `bytes` bytes further.
    #[inline]
    pub(super) fn offset(self, bytes: u32) -> Self {
        match self {
            Self::Global(address) => Self::Global(address + u64::from(bytes)),
            Self::Shared(at) => Self::Shared(at + bytes as usize),
            Self::Local(at) => Self::Local(at + bytes as usize),
            Self::Param(at) => Self::Param(at + bytes as usize),
        }
    }
}
