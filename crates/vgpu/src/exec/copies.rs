//! `cp.async`: copies of a thread, in groups.

use super::access::Place;
use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::Use;
use crate::check::shared::Landing;
use crate::config::Copies as When;
use crate::error::FaultKind;
use crate::program::{CopyAsync, Space};
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
    pub(super) open_bulk: [u32; LANES],
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

impl Block<'_> {
    /// Whether a copy takes effect when it is issued.
    pub(super) fn is_early(&mut self) -> bool {
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
    pub(super) fn take_states(&mut self, from: u64, to: usize, bytes: usize) {
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
}
