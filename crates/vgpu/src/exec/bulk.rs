//! `cp.async.bulk`: copies that complete at an mbarrier, or in groups of a thread.

use super::access::Place;
use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::Use;
use crate::check::clock::Domain;
use crate::error::FaultKind;
use crate::memory::state;
use crate::program::{CopyBulk, Space};
use crate::registers::lanes;

/// A copy that has not been waited for.
#[derive(Debug, Clone)]
pub(super) struct PendingBulk {
    pub(super) thread: usize,
    group: u32,
    shared: usize,
    global: u64,
    bytes: u32,
    /// Global to shared, with its mbarrier; else shared to global.
    mbarrier: Option<u32>,
    pub(super) pc: u32,
    performed: bool,
    /// What a copy to global memory has read and not written yet, and which bytes were defined.
    taken: Option<(Vec<u8>, Vec<bool>)>,
}

impl Block<'_> {
    pub(super) fn copy_bulk(&mut self, warp: &mut Warp, op: &CopyBulk, active: u32) -> Run<()> {
        let (to, from) = (warp.addresses(&op.to), warp.addresses(&op.from));
        for lane in lanes(active) {
            let bytes = warp.registers.narrow(op.bytes)[lane];
            let (shared, global) =
                if op.mbarrier.is_some() { (to[lane], from[lane]) } else { (from[lane], to[lane]) };
            if bytes == 0
                || ![u64::from(bytes), shared, global].iter().all(|n| n.is_multiple_of(16))
            {
                let text =
                    format!("a bulk copy of {bytes} bytes, or an address, not in units of 16");
                return trouble(FaultKind::Misaligned, lane, Some(shared), text);
            }
            if shared + u64::from(bytes) > self.shared.len() as u64 {
                let text = format!("{bytes} bytes outside the shared memory");
                return trouble(FaultKind::OutOfBounds, lane, Some(shared), text);
            }
            for at in (0..u64::from(bytes)).step_by(16) {
                self.place(warp, lane, Space::Global, global + at, 16, op.mbarrier.is_none())?;
            }
            let mbarrier = match &op.mbarrier {
                Some(address) => Some(self.copy_mbarrier(warp, lane, address)?),
                None => None,
            };
            let copy = PendingBulk {
                thread: warp.thread(lane),
                group: warp.copies.open_bulk[lane],
                shared: shared as usize,
                global,
                bytes,
                mbarrier,
                pc: self.pc,
                performed: false,
                taken: None,
            };
            self.check_bulk(warp, lane, &copy)?;
            if self.env.config.counters {
                self.count_bulk(&copy);
            }
            self.bulk.push(copy);
            if self.is_early() {
                let last = self.bulk.len() - 1;
                self.perform_bulk(last);
            }
        }
        Ok(())
    }

    fn check_bulk(&mut self, warp: &Warp, lane: usize, copy: &PendingBulk) -> Run<()> {
        let loads = copy.mbarrier.is_some();
        let (in_shared, in_global) = if loads {
            (Use::AsyncWrite, Use::AsyncRead)
        } else {
            (Use::AsyncRead, Use::AsyncWrite)
        };
        // Looked up before the copy itself takes the place of what was there.
        let exposed = self.exposed(copy);
        self.check_race(warp, lane, Place::Shared(copy.shared), copy.bytes, in_shared)?;
        self.check_race(warp, lane, Place::Global(copy.global), copy.bytes, in_global)?;
        if let Some((what, pc, address)) = exposed {
            let line = self.env.program.code.get(pc as usize).map_or(0, |i| i.line);
            let text =
                format!("the copy {what} PTX line {line}, without fence.proxy.async between");
            return trouble(FaultKind::MissingProxyFence, lane, Some(address), text);
        }
        if let Some(mbarrier) = copy.mbarrier {
            let landing = self.next_phase(mbarrier);
            if let Some(races) = &mut self.races {
                races.landed(landing, true, copy.shared, copy.bytes, self.pc);
            }
        } else {
            self.env.with_proxies(|proxies| proxies.overwrite(copy.global, copy.bytes));
        }
        Ok(())
    }

    /// An ordinary access, by its instruction and address, to bytes of a bulk copy that no proxy
    /// fence separates from it. The other way round, waiting for the copy is enough (PTX ISA,
    /// "Async proxy").
    fn exposed(&self, copy: &PendingBulk) -> Option<(&'static str, u32, u64)> {
        let races = self.races.as_ref().filter(|_| self.env.proxies.is_some())?;
        let loads = copy.mbarrier.is_some();
        if let Some((pc, write)) = races.unfenced(copy.thread, copy.shared, copy.bytes, loads) {
            let what = match (loads, write) {
                (false, _) => "reads shared memory written by",
                (true, true) => "overwrites shared memory written by",
                (true, false) => "overwrites shared memory read by",
            };
            return Some((what, pc, copy.shared as u64));
        }
        let fenced = |thread, time| races.is_fenced(Domain::Global, copy.thread, (thread, time));
        let found = self
            .env
            .with_proxies(|proxies| proxies.unfenced(self.number, copy.global, copy.bytes, fenced));
        let what = if loads {
            "reads global memory written by"
        } else {
            "overwrites global memory written by"
        };
        Some((what, found.flatten()?, copy.global))
    }

    fn count_bulk(&mut self, copy: &PendingBulk) {
        let units = u64::from(copy.bytes.div_ceil(32));
        let waves = u64::from(copy.bytes.div_ceil(128));
        let (global, shared) = (&mut self.counters.global, &mut self.counters.shared);
        if copy.mbarrier.is_some() {
            global.load_requests += 1;
            global.load_bytes += u64::from(copy.bytes);
            global.load_units += units;
            shared.store_requests += 1;
            shared.store_bytes += u64::from(copy.bytes);
            shared.store_units += waves;
        } else {
            global.store_requests += 1;
            global.store_bytes += u64::from(copy.bytes);
            global.store_units += units;
            shared.load_requests += 1;
            shared.load_bytes += u64::from(copy.bytes);
            shared.load_units += waves;
        }
    }

    fn perform_bulk(&mut self, index: usize) {
        let Some(mbarrier) = self.bulk[index].mbarrier else {
            self.take(index);
            self.put(index);
            return;
        };
        let copy = &mut self.bulk[index];
        copy.performed = true;
        let (global, shared, bytes) = (copy.global, copy.shared, copy.bytes);
        let range = shared..shared + bytes as usize;
        self.env.memory.arena().read(global, &mut self.shared[range]);
        if !self.shared_defined.is_empty() {
            self.take_states(global, shared, bytes as usize);
        }
        self.complete_bytes(mbarrier, bytes);
    }

    /// A copy to global memory reads its source.
    fn take(&mut self, index: usize) {
        let copy = &mut self.bulk[index];
        if copy.performed || copy.taken.is_some() {
            return;
        }
        let range = copy.shared..copy.shared + copy.bytes as usize;
        let defined = self.shared_defined.get(range.clone()).unwrap_or_default().to_vec();
        copy.taken = Some((self.shared[range].to_vec(), defined));
    }

    /// It writes what it has read.
    fn put(&mut self, index: usize) {
        let copy = &mut self.bulk[index];
        copy.performed = true;
        let Some((data, defined)) = copy.taken.take() else { return };
        let arena = self.env.memory.arena();
        arena.write(copy.global, &data);
        if self.env.memory.tracks_undefined() {
            for (at, defined) in (copy.global..).zip(defined) {
                let bits = if defined { state::DEFINED } else { 0 };
                arena.set_state(at, bits, state::DEFINED);
            }
        }
    }

    /// The instruction of a copy that may still write some of these bytes of global memory.
    pub(super) fn in_flight(&self, address: u64, bytes: u32) -> Option<u32> {
        let overlaps = |copy: &&PendingBulk| {
            copy.mbarrier.is_none()
                && address < copy.global + u64::from(copy.bytes)
                && copy.global < address + u64::from(bytes)
        };
        self.bulk.iter().find(overlaps).map(|copy| copy.pc)
    }

    /// Copies to shared memory that were put off take effect: everybody waits for them.
    pub(super) fn deliver_late_copies(&mut self) {
        for index in 0..self.bulk.len() {
            if !self.bulk[index].performed && self.bulk[index].mbarrier.is_some() {
                self.perform_bulk(index);
            }
        }
        self.bulk.retain(|copy| copy.mbarrier.is_none());
    }

    /// `cp.async.bulk.wait_group`: of all but the newest groups, the sources may be written again,
    /// and unless only `read`, the targets are written.
    pub(super) fn wait_bulk(
        &mut self,
        warp: &Warp,
        (pending, read): (u32, bool),
        active: u32,
    ) -> Run<()> {
        for lane in lanes(active) {
            let thread = warp.thread(lane);
            let open = warp.copies.open_bulk[lane];
            let mut index = 0;
            while index < self.bulk.len() {
                let copy = &self.bulk[index];
                let mine = copy.thread == thread && copy.mbarrier.is_none();
                if !mine || copy.group + pending >= open {
                    index += 1;
                    continue;
                }
                let (shared, bytes) = (copy.shared, copy.bytes);
                if let Some(races) = &mut self.races {
                    races.read_done(thread, shared, bytes);
                }
                self.take(index);
                if read {
                    index += 1;
                } else {
                    self.complete_bulk(warp, lane, index)?;
                }
            }
        }
        Ok(())
    }

    /// The copy's target is written, for those whom the thread lets know.
    fn complete_bulk(&mut self, warp: &Warp, lane: usize, index: usize) -> Run<()> {
        self.put(index);
        let copy = self.bulk.remove(index);
        // What other CTAs did since the copy was issued must be ordered as well.
        self.check_race(warp, lane, Place::Global(copy.global), copy.bytes, Use::AsyncWrite)
    }

    /// What nobody waited for takes effect when the CTA ends. A fault is that of a copy's thread.
    pub(super) fn end_bulk(&mut self, warps: &[Warp]) -> Result<(), (Box<super::Trouble>, usize)> {
        while let Some(copy) = self.bulk.first() {
            let (thread, loads) = (copy.thread, copy.mbarrier.is_some());
            self.pc = copy.pc;
            if !copy.performed {
                if loads {
                    self.perform_bulk(0);
                } else {
                    self.take(0);
                }
            }
            if loads {
                self.bulk.remove(0);
                continue;
            }
            let index = thread / 32;
            self.complete_bulk(&warps[index], thread % 32, 0)
                .map_err(|trouble| (trouble, index))?;
        }
        Ok(())
    }
}
