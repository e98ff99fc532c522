//! The same check in its plainest form, to compare with: each word has its own list of marks.

use std::collections::HashMap;

use super::{Access, Other};

/// Bytes of the pages in which history is kept.
const PAGE: u64 = 4096;

#[derive(Debug, Clone, Copy)]
struct Mark {
    block: u64,
    time: u32,
    pc: u32,
    bytes: u8,
    atomic: bool,
    write: bool,
}

type Times = HashMap<u64, u32>;

/// A CTA's place in the order.
#[derive(Debug, Default)]
struct Party {
    now: u32,
    known: Times,
    /// What its last fence would release.
    released: Option<Times>,
    /// What its next fence would acquire.
    seen: Times,
}

/// The history of global memory during one launch.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pages: HashMap<u64, Vec<Vec<Mark>>>,
    parties: HashMap<u64, Party>,
    words: HashMap<u64, Times>,
}

fn join(into: &mut Times, from: &Times) {
    for (&block, &time) in from {
        let known = into.entry(block).or_default();
        *known = (*known).max(time);
    }
}

impl Plain {
    fn now(&mut self, block: u64) -> u32 {
        self.parties.entry(block).or_default().now + 1
    }

    /// Notes an access; returns an earlier one that it conflicts with.
    pub(super) fn access(&mut self, block: u64, touch: Access) -> Option<Other> {
        let time = self.now(block);
        let (start, end) = (touch.address, touch.address + u64::from(touch.bytes));
        for word in start / 4..end.div_ceil(4) {
            let low = start.max(4 * word) - 4 * word;
            let high = end.min(4 * word + 4) - 4 * word;
            let mark = Mark {
                block,
                time,
                pc: touch.pc,
                bytes: (0xf_u8 >> (4 - (high - low))) << low,
                atomic: touch.usage.is_atomic(),
                write: touch.usage.writes(),
            };
            let page = self
                .pages
                .entry(4 * word / PAGE)
                .or_insert_with(|| vec![Vec::new(); PAGE as usize / 4]);
            let marks = &mut page[(word % (PAGE / 4)) as usize];
            let known = &self.parties[&block].known;
            if let Some(old) = conflict(marks, &mark, known) {
                let what = match (old.atomic, old.write) {
                    (true, _) => "an atomic access",
                    (false, true) => "a write",
                    (false, false) => "a read",
                };
                return Some(Other { block: old.block, pc: old.pc, what });
            }
            note(marks, mark, known);
        }
        None
    }

    /// A fence of device scope.
    pub(super) fn fence(&mut self, block: u64) {
        let party = self.parties.entry(block).or_default();
        let seen = std::mem::take(&mut party.seen);
        join(&mut party.known, &seen);
        let mut released = party.known.clone();
        released.insert(block, party.now + 1);
        party.released = Some(released);
        party.now += 1;
    }

    /// An access that takes part in synchronisation.
    pub(super) fn atomic(&mut self, block: u64, address: u64) {
        let party = self.parties.entry(block).or_default();
        let word = self.words.entry(address).or_default();
        if let Some(released) = &party.released {
            join(word, released);
        }
        join(&mut party.seen, word);
    }
}

/// The first access that a CTA which knows these times does not come after.
fn conflict<'m>(marks: &'m [Mark], new: &Mark, known: &Times) -> Option<&'m Mark> {
    marks.iter().find(|old| {
        let ordered =
            old.block == new.block || known.get(&old.block).is_some_and(|&time| time >= old.time);
        old.bytes & new.bytes != 0
            && (old.write || new.write)
            && !(old.atomic && new.atomic)
            && !ordered
    })
}

fn note(marks: &mut Vec<Mark>, mark: Mark, known: &Times) {
    if mark.write {
        // All else on these bytes happened before, or is atomic as well.
        marks.retain_mut(|old| {
            // Later atomics must come after a plain access, but need not after an atomic one.
            if mark.atomic && !(old.atomic && old.block == mark.block) {
                return true;
            }
            old.bytes &= !mark.bytes;
            old.bytes != 0
        });
    } else {
        marks.retain_mut(|old| {
            let behind = known.get(&old.block).is_some_and(|&time| time >= old.time);
            if old.write || old.atomic != mark.atomic || !(old.block == mark.block || behind) {
                return true;
            }
            old.bytes &= !mark.bytes;
            old.bytes != 0
        });
    }
    marks.push(mark);
}
