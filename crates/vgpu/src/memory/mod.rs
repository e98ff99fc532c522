//! Device memory: allocations, host access, and the state of every byte.

mod arena;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use arena::{Arena, state};

use crate::error::MemoryError;

/// Allocations start at multiples of this, as those of CUDA do.
const GRANULE: u64 = 256;

/// Freed ranges remembered to tell use after free from a wild pointer.
const REMEMBERED: usize = 1 << 16;

/// Bytes whose states are looked at together.
const CHUNK: u64 = 4096;

/// What an allocation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Memory that only device code and copies touch. Its contents start undefined.
    Device,
    /// Pinned host memory that the device sees. The host writes it directly, so its contents count
    /// as defined.
    Host,
    /// Managed memory, which the host writes directly as well.
    Managed,
    /// A module's `.global` variable. Zero or initialised, hence defined.
    Global,
    /// A module's `.const` variable: kernels cannot write it.
    Constant,
}

/// A live allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Address of its first byte.
    pub address: u64,
    /// Its size in bytes as asked for.
    pub bytes: u64,
    /// What it is for.
    pub kind: Kind,
    /// Number of the allocation, ascending from 1.
    pub serial: u64,
}

/// How much memory there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Memory of the device.
    pub total: u64,
    /// What is not allocated.
    pub free: u64,
}

#[derive(Default)]
struct Table {
    live: BTreeMap<u64, Allocation>,
    /// Live allocations that nothing may touch for now.
    parked: BTreeSet<u64>,
    freed: BTreeMap<u64, u64>,
    freed_order: VecDeque<u64>,
    next: u64,
    used: u64,
    serial: u64,
}

/// All memory of one device. Pointers are host addresses, so the host may touch memory of kinds
/// [`Host`](Kind::Host) and [`Managed`](Kind::Managed) directly.
pub struct Memory {
    arena: Arena,
    track_undefined: bool,
    total: u64,
    table: Mutex<Table>,
}

impl Memory {
    /// Reserves address space for a device of `total` bytes; pages are taken as they are touched.
    pub(crate) fn new(total: u64, track_undefined: bool) -> Result<Self, MemoryError> {
        // Twice the memory, so that freed addresses stay unused for as long as possible.
        let arena = Arena::reserve(2 * total)?;
        let table = Table { next: GRANULE, ..Table::default() };
        Ok(Self { arena, track_undefined, total, table: Mutex::new(table) })
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn tracks_undefined(&self) -> bool {
        self.track_undefined
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code panics while it holds the lock with a half-changed table.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allocates `bytes` bytes at a multiple of `align` (a power of two) and of 256.
    ///
    /// # Errors
    /// [`MemoryError::BadRequest`] for no bytes or a wrong alignment, [`MemoryError::OutOfMemory`].
    pub fn alloc(&self, bytes: u64, align: u64, kind: Kind) -> Result<u64, MemoryError> {
        if bytes == 0 || !align.is_power_of_two() {
            return Err(MemoryError::BadRequest { bytes, align });
        }
        let mut table = self.table();
        let free = self.total - table.used;
        if bytes > free {
            return Err(MemoryError::OutOfMemory { requested: bytes, free });
        }
        let align = align.max(GRANULE);
        let address = self
            .place(&mut table, bytes, align)
            .ok_or(MemoryError::OutOfMemory { requested: bytes, free })?;
        self.arena.fill_state(address, bytes, self.fresh(kind));
        table.used += bytes;
        table.serial += 1;
        let serial = table.serial;
        table.live.insert(address, Allocation { address, bytes, kind, serial });
        Ok(address)
    }

    /// State of bytes that were just allocated.
    fn fresh(&self, kind: Kind) -> u8 {
        let mut bits = state::ALLOCATED;
        if kind != Kind::Device || !self.track_undefined {
            bits |= state::DEFINED;
        }
        if kind == Kind::Constant {
            bits |= state::CONSTANT;
        }
        bits
    }

    /// Lets every access to an allocation fail as to freed memory while its address stays taken,
    /// until [`revive`](Self::revive): what a graph's memory is between its allocation nodes.
    ///
    /// # Errors
    /// [`MemoryError::NotAllocated`].
    pub fn park(&self, address: u64) -> Result<(), MemoryError> {
        self.set_parked(address, true)
    }

    /// Ends what [`park`](Self::park) did. The contents are undefined again.
    ///
    /// # Errors
    /// [`MemoryError::NotAllocated`].
    pub fn revive(&self, address: u64) -> Result<(), MemoryError> {
        self.set_parked(address, false)
    }

    fn set_parked(&self, address: u64, parked: bool) -> Result<(), MemoryError> {
        let mut table = self.table();
        let Some(&Allocation { bytes, kind, .. }) = table.live.get(&address) else {
            let freed = table.freed.contains_key(&address);
            return Err(MemoryError::NotAllocated { address, freed });
        };
        if parked {
            table.parked.insert(address);
        } else {
            table.parked.remove(&address);
        }
        self.arena.fill_state(address, bytes, if parked { 0 } else { self.fresh(kind) });
        Ok(())
    }

    /// A free range: behind everything allocated so far, else the first gap that fits.
    fn place(&self, table: &mut Table, bytes: u64, align: u64) -> Option<u64> {
        let base = self.arena.base();
        let fits = |from: u64, end: u64| {
            let address = from.next_multiple_of(align);
            // A granule stays free behind every allocation, so that running over its end shows.
            (address + bytes + GRANULE <= end).then_some(address)
        };
        if let Some(address) = fits(base + table.next, base + self.arena.bytes()) {
            table.next = (address + bytes + GRANULE).next_multiple_of(GRANULE) - base;
            return Some(address);
        }
        let mut from = base + GRANULE;
        let mut found = None;
        for allocation in table.live.values() {
            found = fits(from, allocation.address);
            if found.is_some() {
                break;
            }
            from = (allocation.address + allocation.bytes + GRANULE).next_multiple_of(GRANULE);
        }
        let address = found?;
        let stale: Vec<u64> = table
            .freed
            .range(..address + bytes)
            .filter(|&(&start, &size)| start + size > address)
            .map(|(&start, _)| start)
            .collect();
        for start in stale {
            table.freed.remove(&start);
        }
        Some(address)
    }

    /// Frees an allocation by the address that [`alloc`](Self::alloc) returned. Its addresses are
    /// not used again before the address space is used up.
    ///
    /// # Errors
    /// [`MemoryError::NotAllocated`].
    pub fn free(&self, address: u64) -> Result<(), MemoryError> {
        let mut table = self.table();
        let Some(allocation) = table.live.remove(&address) else {
            let freed = table.freed.contains_key(&address);
            return Err(MemoryError::NotAllocated { address, freed });
        };
        table.parked.remove(&address);
        self.arena.discard(address, allocation.bytes);
        table.used -= allocation.bytes;
        table.freed.insert(address, allocation.bytes);
        table.freed_order.push_back(address);
        if table.freed_order.len() > REMEMBERED
            && let Some(oldest) = table.freed_order.pop_front()
        {
            table.freed.remove(&oldest);
        }
        Ok(())
    }

    /// The live allocation that holds `address`, parked or not.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        let table = self.table();
        let (_, allocation) = table.live.range(..=address).next_back()?;
        (address < allocation.address + allocation.bytes).then_some(*allocation)
    }

    /// Whether `address` lies in an allocation that was freed, or is parked.
    pub fn was_freed(&self, address: u64) -> bool {
        if self.find(address).is_some_and(|found| self.table().parked.contains(&found.address)) {
            return true;
        }
        let table = self.table();
        table.freed.range(..=address).next_back().is_some_and(|(&at, &size)| address < at + size)
    }

    /// Size of the device's memory and what is left of it.
    pub fn info(&self) -> MemoryInfo {
        MemoryInfo { total: self.total, free: self.total - self.table().used }
    }

    /// Live allocations of kinds that a program must free, oldest first.
    pub fn leaks(&self) -> Vec<Allocation> {
        let table = self.table();
        let owned = |a: &&Allocation| !matches!(a.kind, Kind::Global | Kind::Constant);
        let mut leaks: Vec<_> = table.live.values().filter(owned).copied().collect();
        leaks.sort_by_key(|allocation| allocation.serial);
        leaks
    }

    /// Fails unless the range lies in one allocation, which may be parked.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`].
    pub fn check_reserved(&self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        let inside = self
            .find(address)
            .is_some_and(|allocation| bytes <= allocation.address + allocation.bytes - address);
        if inside || bytes == 0 {
            return Ok(());
        }
        Err(MemoryError::OutOfBounds { address, bytes, freed: self.was_freed(address) })
    }

    /// Fails unless the range lies in one allocation that may be touched.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`].
    pub fn check(&self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        self.check_reserved(address, bytes)?;
        if bytes > 0 && self.was_freed(address) {
            return Err(MemoryError::OutOfBounds { address, bytes, freed: true });
        }
        Ok(())
    }

    /// Copies from the device to the host.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`].
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), MemoryError> {
        self.check(address, to.len() as u64)?;
        if !to.is_empty() {
            self.arena.read(address, to);
        }
        Ok(())
    }

    /// Copies from the host to the device.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`].
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.check(address, from.len() as u64)?;
        if !from.is_empty() {
            self.arena.write(address, from);
            self.mark_defined(address, from.len() as u64);
        }
        Ok(())
    }

    /// Writes `pattern` `count` times.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`].
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        let bytes = pattern.len() as u64 * count;
        self.check(address, bytes)?;
        for index in 0..count {
            self.arena.write(address + index * pattern.len() as u64, pattern);
        }
        self.mark_defined(address, bytes);
        Ok(())
    }

    /// Copies inside the device; bytes that nothing has written stay undefined.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`].
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        self.check(from, bytes)?;
        self.check(to, bytes)?;
        if bytes > 0 {
            self.arena.copy(to, from, bytes);
            if self.track_undefined {
                self.copy_states(to, from, bytes)?;
            }
        }
        Ok(())
    }

    /// The first byte of a range that nothing has written; always none with
    /// [`Checks::uninitialised`](crate::Checks::uninitialised) off.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`].
    pub fn first_undefined(&self, address: u64, bytes: u64) -> Result<Option<u64>, MemoryError> {
        self.check(address, bytes)?;
        if !self.track_undefined {
            return Ok(None);
        }
        let end = address + bytes;
        let mut from = address;
        while from < end {
            let chunk = (end - from).min(CHUNK) & !3;
            let whole = from.is_multiple_of(4) && chunk > 0;
            if whole && self.arena.states(from, chunk as u32).0 & state::DEFINED != 0 {
                from += chunk;
                continue;
            }
            let last = (from + CHUNK).min(end);
            let found = (from..last).find(|&at| self.arena.state(at) & state::DEFINED == 0);
            if found.is_some() {
                return Ok(found);
            }
            from = last;
        }
        Ok(None)
    }

    fn copy_states(&self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        if self.first_undefined(from, bytes)?.is_none() {
            self.mark_defined(to, bytes);
            return Ok(());
        }
        let states: Vec<u8> = (from..from + bytes).map(|at| self.arena.state(at)).collect();
        for (at, state) in (to..).zip(states) {
            self.arena.set_state(at, state & state::DEFINED, state::DEFINED);
        }
        Ok(())
    }

    /// Marks a part of one allocation, whose bytes are alike otherwise.
    fn mark_defined(&self, address: u64, bytes: u64) {
        if self.track_undefined && bytes > 0 {
            self.arena.fill_state(address, bytes, self.arena.state(address) | state::DEFINED);
        }
    }
}
