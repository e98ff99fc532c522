//! Races in global memory between the CTAs of a launch, by what happens before what.
//!
//! CTAs are ordered only by fences and atomic (or volatile, relaxed) accesses: a fence followed by
//! such an access releases what the CTA has done, such an access followed by a fence acquires.
//! Order is kept per CTA, not per thread: a missing barrier inside a CTA is the business of the
//! check of shared memory.
//!
//! Words that were touched alike share one history, and each word keeps its number only (see
//! `history` and `shadow`), so that a request of a whole warp costs little more than one of a lane.

mod history;
mod order;
#[cfg(test)]
mod plain;
mod shadow;
#[cfg(test)]
mod tests;

use self::history::{Histories, Mark, MarkId};
use self::order::Order;
use self::shadow::Shadow;
use super::{Access, Use};

/// An access of another CTA that conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) block: u64,
    pub(crate) pc: u32,
    pub(crate) what: &'static str,
}

/// Kinds of access whose marks are remembered.
const RECENT: usize = 64;

/// The mark that an instruction of a CTA makes as long as the order does not change.
#[derive(Debug, Clone, Copy)]
struct Recent {
    block: u64,
    pc: u32,
    usage: Use,
    /// Of the order, and of the marks' numbers.
    version: (u64, u64),
    mark: MarkId,
}

/// The history of global memory during one launch.
pub(crate) struct GlobalRaces {
    shadow: Shadow,
    histories: Histories,
    order: Order,
    recent: [Recent; RECENT],
    /// Grows when marks get other numbers.
    compactions: u64,
}

impl Default for GlobalRaces {
    fn default() -> Self {
        Self::with(Histories::default())
    }
}

impl GlobalRaces {
    fn with(histories: Histories) -> Self {
        let none = Recent { block: 0, pc: 0, usage: Use::Read, version: (0, 0), mark: 0 };
        Self {
            shadow: Shadow::default(),
            histories,
            order: Order::default(),
            recent: [none; RECENT],
            compactions: 1,
        }
    }

    /// Forgets everything, for the next launch.
    pub(crate) fn reset(&mut self) {
        self.shadow.reset();
        if self.histories.reset() {
            self.shadow.forget();
        }
        self.order.reset();
    }

    /// Notes an access of one lane, or of lanes side by side; returns an earlier one that it
    /// conflicts with. Of several lanes, those before the conflict may be noted already; to note
    /// them again one by one changes nothing and tells the first that conflicts.
    pub(crate) fn access(&mut self, block: u64, touch: Access) -> Option<Other> {
        if self.histories.is_full() {
            self.histories.compact(self.shadow.all());
            self.compactions += 1;
        }
        let mark = self.mark(block, touch);
        let (start, end) = (touch.address, touch.address + u64::from(touch.bytes));
        let mut word = start / 4;
        while word < end.div_ceil(4) {
            let (low, high) = (start.max(4 * word), end.min(4 * word + 4));
            let whole = high - low == 4;
            let count = if whole { end / 4 - word } else { 1 };
            let cells = self.shadow.cells(word, count);
            let bytes = (0xf_u8 >> (4 - (high - low))) << (low - 4 * word);
            let step = |old| self.histories.step(old, (mark, bytes), &self.order);
            if let Err(old) = advance(cells, step) {
                return Some(Other { block: old.block, pc: old.pc, what: old.what() });
            }
            word += cells.len() as u64;
        }
        None
    }

    /// The mark of an access that happens now.
    fn mark(&mut self, block: u64, touch: Access) -> MarkId {
        let index = touch.pc as usize % RECENT;
        let recent = &self.recent[index];
        let version = (self.order.version(), self.compactions);
        if (recent.version, recent.block, recent.pc, recent.usage)
            == (version, block, touch.pc, touch.usage)
        {
            return recent.mark;
        }
        let (pc, usage) = (touch.pc, touch.usage);
        let (atomic, write) = (usage.is_atomic(), usage.writes());
        let time = self.order.now(block);
        let mark = self.histories.mark(Mark { block, time, pc, atomic, write });
        let version = (self.order.version(), self.compactions);
        self.recent[index] = Recent { block, pc, usage, version, mark };
        mark
    }

    /// A fence of device scope.
    pub(crate) fn fence(&mut self, block: u64) {
        self.order.fence(block);
    }

    /// An access that takes part in synchronisation.
    pub(crate) fn atomic(&mut self, block: u64, address: u64) {
        self.order.atomic(block, address);
    }
}

/// Moves words side by side on to their next history; many have the same one.
fn advance(cells: &mut [u32], mut step: impl FnMut(u32) -> Result<u32, Mark>) -> Result<(), Mark> {
    let first = cells[0];
    let mut last = (first, step(first)?);
    if cells.iter().fold(0, |differ, cell| differ | (cell ^ first)) == 0 {
        cells.fill(last.1);
        return Ok(());
    }
    for cell in cells {
        if *cell != last.0 {
            last = (*cell, step(*cell)?);
        }
        *cell = last.1;
    }
    Ok(())
}
