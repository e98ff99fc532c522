//! CTA barriers (PTX ISA, `bar`).

use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::error::FaultKind;
use crate::program::{Barrier, BarrierUse, Logic};
use crate::registers::LANES;

/// One of the sixteen barriers of a CTA.
#[derive(Debug, Clone, Default)]
pub(super) struct BarrierState {
    /// Times that it has completed.
    pub(super) generation: u64,
    /// Threads that have arrived, in whole warps.
    arrived: u32,
    /// Threads expected, if the first arrival said so.
    expected: Option<u32>,
    /// Warps that have arrived, one bit each.
    warps: u32,
    /// Results of `bar.red` so far, and of the last generation.
    partial: Votes,
    result: Votes,
}

#[derive(Debug, Clone, Copy)]
struct Votes {
    count: u32,
    all: bool,
    any: bool,
}

impl Default for Votes {
    fn default() -> Self {
        Self { count: 0, all: true, any: false }
    }
}

impl BarrierState {
    /// Writes the result of a reducing barrier that has completed.
    pub(super) fn give_result(&self, warp: &mut Warp, barrier: &Barrier, mask: u32) {
        match barrier.usage {
            BarrierUse::Count { result, .. } => {
                warp.registers.set_narrow(result, mask, &[self.result.count; LANES]);
                warp.registers.defined[result as usize] |= mask;
            }
            BarrierUse::Reduce { logic, result, .. } => {
                let holds = if logic == Logic::And { self.result.all } else { self.result.any };
                let values = if holds { u32::MAX } else { 0 };
                warp.registers.set_predicate(result, mask, values);
                warp.registers.predicates_defined[usize::from(result)] |= mask;
            }
            BarrierUse::Sync | BarrierUse::Arrive => {}
        }
    }
}

impl Block<'_> {
    /// A warp arrives. Returns what to wait for, if it has to.
    pub(super) fn arrive(
        &mut self,
        warp: &mut Warp,
        barrier: &Barrier,
        active: u32,
    ) -> Run<Option<(usize, u64)>> {
        let lane = active.trailing_zeros() as usize;
        let mismatch = |message: String| trouble(FaultKind::BarrierMismatch, lane, None, message);
        let id = warp.registers.narrow(barrier.id)[lane] as usize;
        if id >= self.barriers.len() {
            return mismatch(format!("barrier {id} does not exist"));
        }
        let expected = barrier.threads.map(|slot| warp.registers.narrow(slot)[lane]);
        if let Some(count) = expected
            && (count == 0 || count % 32 != 0)
        {
            return mismatch(format!("{count} threads are not whole warps"));
        }
        let state = &mut self.barriers[id];
        if state.warps == 0 {
            state.expected = expected;
        } else if state.expected != expected {
            let text = format!(
                "barrier {id} is used with {} and with {} threads at a time",
                threads(state.expected),
                threads(expected)
            );
            return mismatch(text);
        }
        if state.warps >> warp.index & 1 == 1 {
            return mismatch(format!("the warp arrives twice at barrier {id}"));
        }
        state.warps |= 1 << warp.index;
        state.arrived += 32;
        if let BarrierUse::Count { predicate, .. } | BarrierUse::Reduce { predicate, .. } =
            barrier.usage
        {
            let votes = warp.holds(predicate) & active;
            state.partial.count += votes.count_ones();
            state.partial.all &= votes == active;
            state.partial.any |= votes != 0;
        }
        let generation = state.generation;
        if let Some(races) = &mut self.races {
            let waits = barrier.usage != BarrierUse::Arrive;
            races.barrier_arrive(id, warp.index as usize * 32, active, waits);
        }
        if self.complete_if_full(id) {
            self.barriers[id].give_result(warp, barrier, active);
            return Ok(None);
        }
        if let Some(most) = self.barriers[id].expected
            && self.barriers[id].arrived > most
        {
            return mismatch(format!("more than {most} threads arrive at barrier {id}"));
        }
        Ok((barrier.usage != BarrierUse::Arrive).then_some((id, generation)))
    }

    /// Exited warps no longer count among those that a barrier without a number waits for.
    pub(super) fn warp_exited(&mut self) {
        for id in 0..self.barriers.len() {
            if self.barriers[id].warps != 0 && self.barriers[id].expected.is_none() {
                self.complete_if_full(id);
            }
        }
    }

    fn complete_if_full(&mut self, id: usize) -> bool {
        let state = &mut self.barriers[id];
        if state.arrived != state.expected.unwrap_or(self.live_warps * 32) {
            return false;
        }
        state.generation += 1;
        state.arrived = 0;
        state.warps = 0;
        state.result = std::mem::take(&mut state.partial);
        if let Some(races) = &mut self.races {
            races.barrier_complete(id);
        }
        true
    }
}

fn threads(count: Option<u32>) -> String {
    count.map_or_else(|| "all".to_owned(), |count| count.to_string())
}
