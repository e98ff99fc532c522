//! mbarriers (PTX ISA, "mbarrier"): arrivals, transaction bytes, phases.

use super::access::Place;
use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::Use;
use crate::check::clock::Domain;
use crate::check::shared::{Landing, SharedRaces};
use crate::error::FaultKind;
use crate::program::{Address, Mbarrier, MbarrierKind, Space};
use crate::registers::{LANES, lanes};

/// Bytes of an mbarrier object.
pub(super) const OBJECT: u32 = 8;

/// Largest count of arrivals, and of transaction bytes, of a phase.
const LIMIT: i64 = (1 << 20) - 1;

/// An mbarrier. Its contents in memory are opaque, so they are kept beside it.
#[derive(Debug, Clone)]
pub(super) struct MbarrierState {
    /// Phases completed.
    phase: u64,
    /// Arrivals that the next phases need.
    expected: i64,
    /// Arrivals that this phase still needs.
    pending: i64,
    /// Bytes that this phase still needs.
    bytes: i64,
    /// Place of its history in the race check.
    pub(super) history: usize,
    /// The thread that initialised it, and its time then.
    initialised: (usize, u32),
}

impl Block<'_> {
    pub(super) fn mbarrier(&mut self, warp: &mut Warp, op: &Mbarrier, active: u32) -> Run<bool> {
        if let MbarrierKind::PendingCount { state, result } = op.kind {
            let counts = warp.registers.wide(state).map(|token| token as u32 & LIMIT as u32);
            warp.registers.set_narrow(result, active, &counts);
            return Ok(false);
        }
        let addresses = warp.addresses(&op.address);
        let mut failed = false;
        for lane in lanes(active) {
            let at = self.object(warp, lane, op.space, addresses[lane])?;
            failed |= self.apply(warp, lane, at, op.kind)?;
        }
        Ok(failed)
    }

    /// Offset of an mbarrier in shared memory.
    fn object(&self, warp: &Warp, lane: usize, space: Space, address: u64) -> Run<u32> {
        if let Place::Shared(at) = self.place(warp, lane, space, address, OBJECT, true)? {
            return Ok(at as u32);
        }
        let text = "an mbarrier must be in shared memory";
        trouble(FaultKind::Mbarrier, lane, Some(address), text)
    }

    /// Offset of the mbarrier that a bulk copy names.
    pub(super) fn copy_mbarrier(
        &mut self,
        warp: &Warp,
        lane: usize,
        address: &Address,
    ) -> Run<u32> {
        let at = warp.addresses(address)[lane];
        let at = self.object(warp, lane, Space::Shared, at)?;
        let place = Some(u64::from(at));
        let Some(state) = self.mbarriers.get(&at) else {
            let text = "the mbarrier of the copy was never initialised";
            return trouble(FaultKind::Mbarrier, lane, place, text);
        };
        let initialised = state.initialised;
        self.check_shared_race(warp, lane, at as usize, OBJECT, Use::Mbarrier)?;
        if let Some(races) = &self.races
            && !races.is_fenced(Domain::Init, warp.thread(lane), initialised)
        {
            let text = "the copy's mbarrier was initialised with neither fence.mbarrier_init nor \
                        fence.proxy.async between";
            return trouble(FaultKind::MissingProxyFence, lane, place, text);
        }
        Ok(at)
    }

    /// One lane's operation; returns whether it waited in vain.
    fn apply(&mut self, warp: &mut Warp, lane: usize, at: u32, kind: MbarrierKind) -> Run<bool> {
        let value = |slot| i64::from(warp.registers.narrow(slot)[lane]);
        if let MbarrierKind::Init { count } = kind {
            let count = value(count);
            return self.initialise(warp, lane, at, count).map(|()| false);
        }
        if !self.mbarriers.contains_key(&at) {
            let text = "the mbarrier was never initialised";
            return trouble(FaultKind::Mbarrier, lane, Some(u64::from(at)), text);
        }
        self.check_shared_race(warp, lane, at as usize, OBJECT, Use::Mbarrier)?;
        match kind {
            MbarrierKind::Invalidate => {
                self.mbarriers.remove(&at);
            }
            MbarrierKind::Arrive { count, state, drop } => {
                let count = count.map_or(1, value);
                let token = self.mbarrier_arrive(warp, lane, at, count, drop)?;
                set_token(warp, lane, state, token);
            }
            MbarrierKind::ArriveExpect { bytes, state } => {
                let bytes = value(bytes);
                self.transact(lane, at, bytes)?;
                let token = self.mbarrier_arrive(warp, lane, at, 1, false)?;
                set_token(warp, lane, state, token);
            }
            MbarrierKind::Expect { bytes } => {
                let bytes = value(bytes);
                self.transact(lane, at, bytes)?;
            }
            MbarrierKind::Complete { bytes } => {
                let bytes = value(bytes);
                self.transact(lane, at, -bytes)?;
            }
            MbarrierKind::ArriveAfterCopies { no_increment } => {
                if !no_increment {
                    self.change(at, |state| state.pending += 1);
                }
                self.land_copies(warp, lane, at);
                self.mbarrier_arrive(warp, lane, at, 1, false)?;
            }
            MbarrierKind::WaitParity { parity, result } => {
                let phase = self.mbarriers[&at].phase;
                let done = phase & 1 != value(parity) as u64 & 1;
                return Ok(self.waited(warp, lane, at, done, result));
            }
            MbarrierKind::WaitState { state, result } => {
                let token = warp.registers.wide(state)[lane];
                let done = self.mbarriers[&at].phase > token >> 32;
                return Ok(self.waited(warp, lane, at, done, result));
            }
            MbarrierKind::Init { .. } | MbarrierKind::PendingCount { .. } => {}
        }
        Ok(false)
    }

    fn change(&mut self, at: u32, change: impl FnOnce(&mut MbarrierState)) {
        if let Some(state) = self.mbarriers.get_mut(&at) {
            change(state);
        }
    }

    fn initialise(&mut self, warp: &mut Warp, lane: usize, at: u32, count: i64) -> Run<()> {
        if !(1..=LIMIT).contains(&count) {
            let text = format!("an mbarrier of {count} arrivals");
            return trouble(FaultKind::Mbarrier, lane, Some(u64::from(at)), text);
        }
        if self.mbarriers.contains_key(&at) && self.env.config.checks.any() {
            let text = "the mbarrier is initialised twice without mbarrier.inval";
            return trouble(FaultKind::Mbarrier, lane, Some(u64::from(at)), text);
        }
        self.check_shared_race(warp, lane, at as usize, OBJECT, Use::Write)?;
        let thread = warp.thread(lane);
        let now = self.races.as_mut().map_or(0, |races| races.now(thread));
        let history = self.races.as_mut().map_or(0, SharedRaces::new_mbarrier);
        self.set_defined(warp, Place::Shared(at as usize), OBJECT, true);
        let state = MbarrierState {
            phase: 0,
            expected: count,
            pending: count,
            bytes: 0,
            history,
            initialised: (thread, now),
        };
        self.mbarriers.insert(at, state);
        Ok(())
    }

    /// Adds bytes to those that the phase waits for.
    fn transact(&mut self, lane: usize, at: u32, bytes: i64) -> Run<()> {
        let Some(state) = self.mbarriers.get_mut(&at) else { return Ok(()) };
        state.bytes += bytes;
        if state.bytes.abs() > LIMIT {
            let text = format!("{} pending bytes", state.bytes);
            return trouble(FaultKind::Mbarrier, lane, Some(u64::from(at)), text);
        }
        self.complete_phase(at);
        Ok(())
    }

    /// Bytes of a bulk copy have arrived.
    pub(super) fn complete_bytes(&mut self, at: u32, bytes: u32) {
        self.change(at, |state| state.bytes -= i64::from(bytes));
        self.complete_phase(at);
    }

    fn mbarrier_arrive(
        &mut self,
        warp: &Warp,
        lane: usize,
        at: u32,
        count: i64,
        drop: bool,
    ) -> Run<u64> {
        let thread = warp.thread(lane);
        let Some(state) = self.mbarriers.get_mut(&at) else { return Ok(0) };
        if count < 1 || count > state.pending {
            let text = format!("{count} arrivals where the phase expects {} more", state.pending);
            return trouble(FaultKind::Mbarrier, lane, Some(u64::from(at)), text);
        }
        let token = state.phase << 32 | state.pending as u64;
        state.pending -= count;
        if drop {
            state.expected -= count;
        }
        let history = state.history;
        if let Some(races) = &mut self.races {
            races.mbarrier_arrive(thread, history);
        }
        self.complete_phase(at);
        Ok(token)
    }

    fn complete_phase(&mut self, at: u32) {
        let Some(state) = self.mbarriers.get_mut(&at) else { return };
        if state.pending == 0 && state.bytes == 0 {
            state.phase += 1;
            state.pending = state.expected;
            let (history, phase) = (state.history, state.phase);
            if let Some(races) = &mut self.races {
                races.mbarrier_complete(history, phase);
            }
        }
    }

    fn waited(&mut self, warp: &mut Warp, lane: usize, at: u32, done: bool, result: u16) -> bool {
        let value = if done { u32::MAX } else { 0 };
        warp.registers.set_predicate(result, 1 << lane, value);
        if done && let Some(races) = &mut self.races {
            races.mbarrier_acquire(warp.thread(lane), self.mbarriers[&at].history);
        }
        !done
    }

    /// The phase that a copy to an mbarrier will complete, counted from 1.
    pub(super) fn next_phase(&self, at: u32) -> Landing {
        let (history, phase) =
            self.mbarriers.get(&at).map_or((0, 1), |state| (state.history, state.phase + 1));
        Landing::Phase { history, phase }
    }
}

fn set_token(warp: &mut Warp, lane: usize, state: Option<u32>, token: u64) {
    if let Some(slot) = state {
        warp.registers.set_wide(slot, 1 << lane, &[token; LANES]);
    }
}
