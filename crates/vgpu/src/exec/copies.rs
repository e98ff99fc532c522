//! Asynchronous copies: `cp.async` by groups, `cp.async.bulk` by mbarriers and groups.

use super::access::Place;
use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::Use;
use crate::check::clock::Domain;
use crate::check::shared::Landing;
use crate::config::Copies as When;
use crate::error::FaultKind;
use crate::program::{CopyAsync, CopyBulk, Space};
use crate::registers::{LANES, lanes};
use crate::schedule::mix;

/// A `cp.async` that its thread has not waited for.
#[derive(Debug, Clone, Copy)]
struct Pending {
    lane: usize,
    group: u32,
    to: usize,
    from: u64,
    bytes: u32,
    source_bytes: u32,
    performed: bool,
}

/// The `cp.async` of a warp, in order of issue, and the groups of each lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Copies {
    pending: Vec<Pending>,
    /// Number of the group that each lane is filling.
    open: [u32; LANES],
    /// The same for bulk copies.
    open_bulk: [u32; LANES],
}

impl Copies {
    pub(super) fn commit(&mut self, active: u32) {
        for lane in lanes(active) {
            self.open[lane] += 1;
        }
    }

    pub(super) fn commit_bulk(&mut self, active: u32) {
        for lane in lanes(active) {
            self.open_bulk[lane] += 1;
        }
    }
}

/// A bulk copy that has not been waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingBulk {
    thread: usize,
    group: u32,
    shared: usize,
    global: u64,
    bytes: u32,
    /// Global to shared, with its mbarrier; else shared to global.
    mbarrier: Option<u32>,
    performed: bool,
}

impl Block<'_> {
    /// Whether a copy takes effect when it is issued.
    fn is_early(&mut self) -> bool {
        match self.env.config.schedule.copies {
            When::Early => true,
            When::Late => false,
            When::Random(seed) => mix(seed ^ self.random.next()) & 1 == 1,
        }
    }

    pub(super) fn copy_async(&mut self, warp: &mut Warp, op: &CopyAsync, active: u32) -> Run<()> {
        let targets = warp.addresses(&op.to);
        let sources = warp.addresses(&op.from);
        let ignored = op.ignore.map_or(0, |guard| warp.holds(guard));
        if self.env.config.counters {
            self.count_traffic(Space::Global, &sources, active, op.bytes, false);
            self.count_traffic(Space::Shared, &targets, active, op.bytes, true);
        }
        for lane in lanes(active) {
            let given = op.source_bytes.map_or(op.bytes, |slot| warp.registers.narrow(slot)[lane]);
            let source_bytes = if ignored >> lane & 1 == 1 { 0 } else { given };
            if source_bytes > op.bytes {
                let text = format!("{source_bytes} source bytes for a copy of {}", op.bytes);
                return trouble(FaultKind::Unsupported, lane, None, text);
            }
            let place = self.place(warp, lane, Space::Shared, targets[lane], op.bytes, true)?;
            let Place::Shared(to) = place else { continue };
            if source_bytes > 0 {
                self.check_source(warp, lane, sources[lane], op.bytes, source_bytes)?;
            }
            self.check_race(warp, lane, place, op.bytes, Use::AsyncWrite)?;
            let mut copy = Pending {
                lane,
                group: warp.copies.open[lane],
                to,
                from: sources[lane],
                bytes: op.bytes,
                source_bytes,
                performed: false,
            };
            if self.is_early() {
                self.perform(&mut copy);
            }
            warp.copies.pending.push(copy);
        }
        Ok(())
    }

    /// The source must be aligned to the whole copy; only the bytes copied must exist.
    fn check_source(
        &mut self,
        warp: &Warp,
        lane: usize,
        from: u64,
        bytes: u32,
        source_bytes: u32,
    ) -> Run<()> {
        if !from.is_multiple_of(u64::from(bytes)) {
            let text = format!("a copy of {bytes} bytes from an address not a multiple of that");
            return trouble(FaultKind::Misaligned, lane, Some(from), text);
        }
        for at in 0..u64::from(source_bytes) {
            self.place(warp, lane, Space::Global, from + at, 1, false)?;
        }
        self.check_race(warp, lane, Place::Global(from), source_bytes, Use::Read)
    }

    fn perform(&mut self, copy: &mut Pending) {
        copy.performed = true;
        let source = copy.source_bytes as usize;
        let target = copy.to..copy.to + copy.bytes as usize;
        self.shared[target.clone()].fill(0);
        if source > 0 {
            self.env.memory.arena().read(copy.from, &mut self.shared[copy.to..copy.to + source]);
        }
        if !self.shared_defined.is_empty() {
            self.shared_defined[target].fill(true);
            self.take_states(copy.from, copy.to, source);
        }
    }

    /// Bytes copied from global memory are defined where they were there.
    fn take_states(&mut self, from: u64, to: usize, bytes: usize) {
        let arena = self.env.memory.arena();
        for at in 0..bytes {
            let state = arena.state(from + at as u64);
            self.shared_defined[to + at] = state & crate::memory::state::DEFINED != 0;
        }
    }

    /// `cp.async.wait_group` and `wait_all` (`None`).
    pub(super) fn wait_copies(&mut self, warp: &mut Warp, pending: Option<u32>, active: u32) {
        let open = warp.copies.open;
        let waits = |copy: &Pending| {
            active >> copy.lane & 1 == 1 && pending.is_none_or(|n| copy.group + n < open[copy.lane])
        };
        let (done, rest): (Vec<_>, _) =
            std::mem::take(&mut warp.copies.pending).into_iter().partition(waits);
        warp.copies.pending = rest;
        for copy in done {
            self.land(copy, Landing::Thread(warp.thread(copy.lane)));
        }
    }

    /// All earlier copies of a lane land; their bytes belong to the next phase of an mbarrier.
    pub(super) fn land_copies(&mut self, warp: &mut Warp, lane: usize, mbarrier: u32) {
        let (done, rest): (Vec<_>, _) =
            std::mem::take(&mut warp.copies.pending).into_iter().partition(|c| c.lane == lane);
        warp.copies.pending = rest;
        let landing = self.next_phase(mbarrier);
        for copy in done {
            self.land(copy, landing);
        }
    }

    fn land(&mut self, mut copy: Pending, landing: Landing) {
        if !copy.performed {
            self.perform(&mut copy);
        }
        if let Some(races) = &mut self.races {
            races.landed(landing, false, copy.to, copy.bytes, self.pc);
        }
    }

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
                performed: false,
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
        let copy = &mut self.bulk[index];
        copy.performed = true;
        let copy = *copy;
        let range = copy.shared..copy.shared + copy.bytes as usize;
        let arena = self.env.memory.arena();
        if let Some(mbarrier) = copy.mbarrier {
            arena.read(copy.global, &mut self.shared[range]);
            if !self.shared_defined.is_empty() {
                self.take_states(copy.global, copy.shared, copy.bytes as usize);
            }
            self.complete_bytes(mbarrier, copy.bytes);
            return;
        }
        arena.write(copy.global, &self.shared[range]);
        if self.env.memory.tracks_undefined() {
            for at in 0..copy.bytes as usize {
                let defined = self.shared_defined[copy.shared + at];
                let bits = if defined { crate::memory::state::DEFINED } else { 0 };
                arena.set_state(copy.global + at as u64, bits, crate::memory::state::DEFINED);
            }
        }
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

    pub(super) fn wait_bulk(&mut self, warp: &Warp, pending: u32, active: u32) {
        for lane in lanes(active) {
            let thread = warp.thread(lane);
            let open = warp.copies.open_bulk[lane];
            for index in 0..self.bulk.len() {
                let copy = self.bulk[index];
                let mine = copy.thread == thread && copy.mbarrier.is_none();
                if !mine || copy.group + pending >= open {
                    continue;
                }
                if !copy.performed {
                    self.perform_bulk(index);
                }
                if let Some(races) = &mut self.races {
                    races.read_done(thread, copy.shared, copy.bytes);
                }
            }
            self.bulk.retain(|copy| {
                copy.thread != thread || copy.mbarrier.is_some() || copy.group + pending >= open
            });
        }
    }

    /// What nobody waited for takes effect when the CTA ends.
    pub(super) fn flush_bulk(&mut self) {
        for index in 0..self.bulk.len() {
            if !self.bulk[index].performed {
                self.perform_bulk(index);
            }
        }
        self.bulk.clear();
    }
}
