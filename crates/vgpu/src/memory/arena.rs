//! One reserved range of host addresses that holds all device memory, and its shadow.
//!
//! A device pointer is the host pointer of the same byte, as on a board whose GPU shares the
//! processor's memory. Every access from a kernel is checked against the arena's two ends, so that
//! no program can reach the host's own data, whatever checks are on.
#![allow(unsafe_code, reason = "kernels address raw memory; every access is bounded by the arena")]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

use crate::error::MemoryError;

/// Size of a host page, the unit in which memory goes back to the host.
const PAGE: u64 = 4096;

/// State of one byte in the shadow.
pub(crate) mod state {
    /// Belongs to a live allocation.
    pub(crate) const ALLOCATED: u8 = 1;
    /// Has been written.
    pub(crate) const DEFINED: u8 = 2;
    /// Cannot be written by kernels.
    pub(crate) const CONSTANT: u8 = 4;
}

/// A reserved, zero-filled range of pages.
struct Pages {
    map: MmapRaw,
    bytes: u64,
}

impl Pages {
    fn reserve(bytes: u64) -> Result<Self, MemoryError> {
        let map = MmapOptions::new()
            .no_reserve_swap()
            .len(bytes as usize)
            .map_anon()
            .map_err(|error| MemoryError::Reserve { bytes, reason: error.to_string() })?;
        Ok(Self { map: map.into(), bytes })
    }

    fn pointer(&self, offset: u64) -> *mut u8 {
        self.map.as_mut_ptr().wrapping_add(offset as usize)
    }

    /// Gives whole pages inside the range back; they read as zero afterwards. The rest is zeroed.
    fn discard(&self, offset: u64, bytes: u64) {
        debug_assert!(offset + bytes <= self.bytes);
        let (first, last) = (offset.next_multiple_of(PAGE), (offset + bytes) / PAGE * PAGE);
        if first >= last {
            return self.fill(offset, bytes, 0);
        }
        self.fill(offset, first - offset, 0);
        self.fill(last, offset + bytes - last, 0);
        // SAFETY: the range lies inside the map, which is private and anonymous, and nothing holds
        // references into it: all access goes through raw pointers.
        let done = unsafe {
            self.map.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                first as usize,
                (last - first) as usize,
            )
        };
        if done.is_err() {
            self.fill(first, last - first, 0);
        }
    }

    fn fill(&self, offset: u64, bytes: u64, value: u8) {
        debug_assert!(offset + bytes <= self.bytes);
        // SAFETY: inside the map; no references into it exist.
        unsafe { self.pointer(offset).write_bytes(value, bytes as usize) }
    }
}

/// Device memory and the state of each of its bytes.
pub(crate) struct Arena {
    data: Pages,
    shadow: Pages,
    base: u64,
    bytes: u64,
}

impl Arena {
    pub(crate) fn reserve(bytes: u64) -> Result<Self, MemoryError> {
        let data = Pages::reserve(bytes)?;
        let base = data.map.as_mut_ptr() as u64;
        Ok(Self { data, shadow: Pages::reserve(bytes)?, base, bytes })
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `bytes` bytes at `address` lie in the arena.
    #[inline]
    pub(crate) fn contains(&self, address: u64, bytes: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        offset < self.bytes && bytes <= self.bytes - offset
    }

    #[inline]
    fn pointer(&self, address: u64, bytes: u64) -> *mut u8 {
        assert!(self.contains(address, bytes), "caller checks that the access is in the arena");
        self.data.pointer(address - self.base)
    }

    /// Reads 1, 2, 4 or 8 bytes at an aligned address inside the arena.
    #[inline]
    pub(crate) fn load(&self, address: u64, bytes: u32) -> u64 {
        let at = self.pointer(address, u64::from(bytes));
        // SAFETY: inside the arena and aligned to its size by the caller's check; relaxed atomics
        // make concurrent CTAs that race well defined.
        unsafe {
            match bytes {
                1 => u64::from(AtomicU8::from_ptr(at).load(Relaxed)),
                2 => u64::from(AtomicU16::from_ptr(at.cast()).load(Relaxed)),
                4 => u64::from(AtomicU32::from_ptr(at.cast()).load(Relaxed)),
                _ => AtomicU64::from_ptr(at.cast()).load(Relaxed),
            }
        }
    }

    /// Writes 1, 2, 4 or 8 bytes at an aligned address inside the arena.
    #[inline]
    pub(crate) fn store(&self, address: u64, bytes: u32, value: u64) {
        let at = self.pointer(address, u64::from(bytes));
        // SAFETY: as for `load`.
        unsafe {
            match bytes {
                1 => AtomicU8::from_ptr(at).store(value as u8, Relaxed),
                2 => AtomicU16::from_ptr(at.cast()).store(value as u16, Relaxed),
                4 => AtomicU32::from_ptr(at.cast()).store(value as u32, Relaxed),
                _ => AtomicU64::from_ptr(at.cast()).store(value, Relaxed),
            }
        }
    }

    /// Reads 32 consecutive aligned words inside the arena.
    #[inline]
    #[allow(clippy::cast_ptr_alignment, reason = "the caller checks the alignment")]
    pub(crate) fn load_row(&self, address: u64, words: &mut [u32; 32]) {
        let at = self.pointer(address, 128).cast::<u32>();
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: as for `load`; all 32 words lie in the range that `pointer` checked.
            *word = unsafe { AtomicU32::from_ptr(at.add(index)).load(Relaxed) };
        }
    }

    /// Writes 32 consecutive aligned words inside the arena.
    #[inline]
    #[allow(clippy::cast_ptr_alignment, reason = "the caller checks the alignment")]
    pub(crate) fn store_row(&self, address: u64, words: &[u32; 32]) {
        let at = self.pointer(address, 128).cast::<u32>();
        for (index, &word) in words.iter().enumerate() {
            // SAFETY: as for `load_row`.
            unsafe { AtomicU32::from_ptr(at.add(index)).store(word, Relaxed) };
        }
    }

    /// The bits that the states of all bytes of a range share, and those that any has. The range
    /// lies in the arena; both its ends are multiples of 4.
    #[inline]
    #[allow(clippy::cast_ptr_alignment, reason = "the caller checks the alignment")]
    pub(crate) fn states(&self, address: u64, bytes: u32) -> (u8, u8) {
        assert!(self.contains(address, u64::from(bytes)), "caller checks the range");
        let at = self.shadow.pointer(address - self.base);
        let (mut all, mut any) = (u64::MAX, 0);
        let words = bytes as usize / 4;
        let doubles = if address.is_multiple_of(8) { words / 2 } else { 0 };
        for index in 0..doubles {
            // SAFETY: the shadow has a byte for each of the arena and begins at a page, so that it
            // is aligned as the address is; relaxed atomics make concurrent CTAs well defined.
            let value = unsafe { AtomicU64::from_ptr(at.cast::<u64>().add(index)).load(Relaxed) };
            (all, any) = (all & value, any | value);
        }
        for index in 2 * doubles..words {
            // SAFETY: as above.
            let value = unsafe { AtomicU32::from_ptr(at.cast::<u32>().add(index)).load(Relaxed) };
            let value = u64::from(value);
            (all, any) = (all & (value | value << 32), any | value);
        }
        let all = all & all >> 32;
        let any = any | any >> 32;
        let (all, any) = (all & all >> 16, any | any >> 16);
        ((all & all >> 8) as u8, (any | any >> 8) as u8)
    }

    /// Sets the states of all bytes of a range as [`states`](Self::states) reads them.
    #[allow(clippy::cast_ptr_alignment, reason = "the caller checks the alignment")]
    pub(crate) fn set_states(&self, address: u64, bytes: u32, value: u8) {
        assert!(self.contains(address, u64::from(bytes)), "caller checks the range");
        let at = self.shadow.pointer(address - self.base).cast::<u32>();
        for index in 0..bytes as usize / 4 {
            // SAFETY: as for `states`.
            let cell = unsafe { AtomicU32::from_ptr(at.add(index)) };
            cell.store(u32::from_ne_bytes([value; 4]), Relaxed);
        }
    }

    /// Replaces a value of 2, 4 or 8 bytes atomically; returns the old one.
    pub(crate) fn update(&self, address: u64, bytes: u32, change: impl Fn(u64) -> u64) -> u64 {
        let at = self.pointer(address, u64::from(bytes));
        // SAFETY: as for `load`.
        unsafe {
            match bytes {
                2 => {
                    u64::from(swap(AtomicU16::from_ptr(at.cast()), |v| change(u64::from(v)) as u16))
                }
                4 => {
                    u64::from(swap(AtomicU32::from_ptr(at.cast()), |v| change(u64::from(v)) as u32))
                }
                _ => swap(AtomicU64::from_ptr(at.cast()), change),
            }
        }
    }

    /// Copies out of the arena.
    pub(crate) fn read(&self, address: u64, to: &mut [u8]) {
        let at = self.pointer(address, to.len() as u64);
        // SAFETY: inside the arena; `to` is host memory that does not overlap it.
        unsafe { at.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) }
    }

    /// Copies into the arena.
    pub(crate) fn write(&self, address: u64, from: &[u8]) {
        let at = self.pointer(address, from.len() as u64);
        // SAFETY: as for `read`.
        unsafe { at.copy_from_nonoverlapping(from.as_ptr(), from.len()) }
    }

    /// Copies inside the arena. The ranges may overlap.
    pub(crate) fn copy(&self, to: u64, from: u64, bytes: u64) {
        let (target, source) = (self.pointer(to, bytes), self.pointer(from, bytes));
        // SAFETY: both inside the arena; `copy_from` allows overlap.
        unsafe { target.copy_from(source, bytes as usize) }
    }

    /// State of one byte.
    #[inline]
    pub(crate) fn state(&self, address: u64) -> u8 {
        debug_assert!(self.contains(address, 1));
        // SAFETY: the shadow has a byte for each of the arena; bytes are always valid atomics.
        unsafe { AtomicU8::from_ptr(self.shadow.pointer(address - self.base)).load(Relaxed) }
    }

    /// The bits that all bytes of a range share. The range lies in the arena.
    #[inline]
    pub(crate) fn common_state(&self, address: u64, bytes: u32) -> u8 {
        (0..u64::from(bytes)).fold(u8::MAX, |all, index| all & self.state(address + index))
    }

    /// Replaces the bits of `mask` in the state of one byte.
    #[inline]
    pub(crate) fn set_state(&self, address: u64, bits: u8, mask: u8) {
        debug_assert!(self.contains(address, 1));
        // SAFETY: as for `state`.
        let cell = unsafe { AtomicU8::from_ptr(self.shadow.pointer(address - self.base)) };
        cell.store(cell.load(Relaxed) & !mask | bits, Relaxed);
    }

    /// Sets the state of a whole range.
    pub(crate) fn fill_state(&self, address: u64, bytes: u64, value: u8) {
        self.shadow.fill(address - self.base, bytes, value);
    }

    /// Forgets contents and state of a range and gives its pages back to the host.
    pub(crate) fn discard(&self, address: u64, bytes: u64) {
        self.data.discard(address - self.base, bytes);
        self.shadow.discard(address - self.base, bytes);
    }
}

macro_rules! impl_swap {
    ($($atomic:ty, $value:ty);*) => {$(
        impl Swap for $atomic {
            type Value = $value;
            fn swap_with(&self, change: impl Fn($value) -> $value) -> $value {
                let mut old = self.load(Relaxed);
                loop {
                    let acqrel = std::sync::atomic::Ordering::AcqRel;
                    match self.compare_exchange_weak(old, change(old), acqrel, Relaxed) {
                        Ok(value) => return value,
                        Err(value) => old = value,
                    }
                }
            }
        }
    )*};
}

trait Swap {
    type Value;
    fn swap_with(&self, change: impl Fn(Self::Value) -> Self::Value) -> Self::Value;
}
impl_swap!(AtomicU16, u16; AtomicU32, u32; AtomicU64, u64);

fn swap<A: Swap>(cell: &A, change: impl Fn(A::Value) -> A::Value) -> A::Value {
    cell.swap_with(change)
}
