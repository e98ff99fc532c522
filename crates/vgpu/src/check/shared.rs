//! Races in shared memory, by what happens before what (the idea of `FastTrack`: C. Flanagan and
//! S. Freund, 2009): each byte remembers its last write and the reads since.

#[cfg(test)]
mod tests;

use super::clock::{Clocks, Domain, Times};
use super::{Access, Use};
use crate::error::FaultKind;

/// mbarriers of a CTA whose history is kept.
const MBARRIERS: usize = 256;

/// A party that stands for copies not waited for.
const IN_FLIGHT: u16 = u16::MAX;

/// How a byte was touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Atomic,
    /// By the asynchronous proxy, which bulk copies go through.
    Bulk,
}

/// Who touched a byte when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    party: u16,
    class: Class,
    /// Bytes of the word, one bit each.
    bytes: u8,
    time: u32,
    pc: u32,
}

/// History of four bytes.
#[derive(Debug, Clone, Default)]
struct Word {
    /// How many times all threads had met when it was last touched.
    meetings: u32,
    /// Last write of each byte; marks that are equal are kept once.
    writes: Vec<Mark>,
    reads: Vec<Mark>,
}

/// An access that conflicts with a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) kind: FaultKind,
    pub(crate) what: &'static str,
    pub(crate) pc: u32,
}

#[derive(Debug, Clone, Default)]
struct History {
    /// Knowledge of those that have arrived in this phase.
    arrived: Times,
    /// Knowledge that waiting for the last phase gives.
    completed: Times,
}

/// For whom a copy has landed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Landing {
    /// The thread that waited for its group.
    Thread(usize),
    /// Whoever waits for a phase of an mbarrier.
    Phase { history: usize, phase: u64 },
}

/// The history of a CTA's shared memory.
pub(crate) struct SharedRaces {
    bytes: usize,
    threads: usize,
    /// Whether anything has happened: many kernels never touch shared memory, and for them nothing
    /// is made and nothing needs to be forgotten.
    begun: bool,
    words: Vec<Word>,
    clocks: Clocks,
    barriers: Vec<(Times, Vec<usize>)>,
    mbarriers: Vec<History>,
    /// Knowledge released to words by atomics.
    released: std::collections::HashMap<usize, Times>,
    /// Whether fences between proxies are tracked.
    proxies: bool,
}

impl SharedRaces {
    pub(crate) fn new(bytes: usize, threads: usize, proxies: bool) -> Self {
        Self {
            bytes,
            threads,
            proxies,
            begun: false,
            words: Vec::new(),
            clocks: Clocks::default(),
            barriers: Vec::new(),
            mbarriers: Vec::new(),
            released: std::collections::HashMap::new(),
        }
    }

    /// Makes room for what is to be noted.
    #[inline]
    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.words.resize_with(self.bytes.div_ceil(4), Word::default);
            self.clocks.reset(self.threads, MBARRIERS, self.proxies);
            self.barriers.resize_with(16, Default::default);
        }
    }

    /// Forgets everything, for the next CTA.
    pub(crate) fn reset(&mut self) {
        if std::mem::take(&mut self.begun) {
            for word in &mut self.words {
                word.meetings = 0;
                word.writes.clear();
                word.reads.clear();
            }
            self.barriers.clear();
            self.mbarriers.clear();
            self.released.clear();
        }
    }

    /// Notes an access; returns an earlier one that it conflicts with.
    pub(crate) fn access(&mut self, thread: usize, touch: Access) -> Option<Conflict> {
        self.begin();
        let (start, end) = (touch.address as usize, touch.address as usize + touch.bytes as usize);
        let in_flight = matches!(touch.usage, Use::AsyncWrite | Use::AsyncRead);
        let whole = Mark {
            party: if in_flight { IN_FLIGHT } else { thread as u16 },
            class: match touch.usage {
                Use::AsyncRead => Class::Bulk,
                usage if usage.is_atomic() => Class::Atomic,
                _ => Class::Plain,
            },
            bytes: 0xf,
            time: self.clocks.now(thread),
            pc: touch.pc,
        };
        for index in start / 4..end.div_ceil(4) {
            let (low, high) =
                (start.max(4 * index) - 4 * index, end.min(4 * index + 4) - 4 * index);
            let bytes = (0xf_u8 >> (4 - (high - low))) << low;
            let mark = Mark { bytes, ..whole };
            let word = &mut self.words[index];
            // Nobody can have come between a thread and what it has just done: it would have had to
            // let others know, which makes the time another.
            if !touch.usage.writes()
                && let Some(last) = word.reads.last_mut()
                && *last == (Mark { pc: last.pc, ..mark })
                && !in_flight
            {
                last.pc = touch.pc;
                continue;
            }
            // Reads that all know of can conflict with nothing any more; a proxy fence may still
            // have to lie behind them.
            if word.meetings != self.clocks.meetings() && !self.proxies {
                word.meetings = self.clocks.meetings();
                word.reads.retain(|read| read.party == IN_FLIGHT);
            }
            if let Some(found) = conflict(word, &self.clocks, thread, bytes, touch.usage) {
                return Some(found);
            }
            if touch.usage.writes() && mark.class == Class::Atomic {
                // Plain writes stay: later atomics must come after them, but need not after this.
                let clocks = &self.clocks;
                word.writes.retain(|old| {
                    old.class != Class::Atomic
                        || old.bytes & !bytes != 0
                        || !clocks.knows(thread, usize::from(old.party), old.time)
                });
                word.writes.push(mark);
            } else if touch.usage.writes() {
                replace(&mut word.writes, mark);
                // All reads of these bytes happened before, or a conflict had been found.
                clear(&mut word.reads, bytes);
            } else {
                note_read(&mut word.reads, mark, thread, &self.clocks);
            }
        }
        None
    }

    /// A copy has landed; `bulk` if through the asynchronous proxy.
    pub(crate) fn landed(
        &mut self,
        landing: Landing,
        bulk: bool,
        start: usize,
        bytes: u32,
        pc: u32,
    ) {
        self.begin();
        let (party, time) = match landing {
            Landing::Phase { history, phase } => (self.threads + history, phase as u32),
            Landing::Thread(thread) => (thread, self.clocks.now(thread)),
        };
        let class = if bulk { Class::Bulk } else { Class::Plain };
        for index in start / 4..(start + bytes as usize).div_ceil(4) {
            let mark = Mark { party: party as u16, class, bytes: 0xf, time, pc };
            replace(&mut self.words[index].writes, mark);
        }
    }

    /// The source of a copy may be written again by those that the thread lets know.
    pub(crate) fn read_done(&mut self, thread: usize, start: usize, bytes: u32) {
        let time = self.clocks.now(thread);
        for index in start / 4..(start + bytes as usize).div_ceil(4) {
            for read in &mut self.words[index].reads {
                if read.party == IN_FLIGHT {
                    (read.party, read.time) = (thread as u16, time);
                }
            }
        }
    }

    pub(crate) fn warp_sync(&mut self, first: usize, mask: u32) {
        self.begin();
        self.clocks.meet((0..32).filter(|lane| mask >> lane & 1 == 1).map(|lane| first + lane));
    }

    /// A warp arrives at a CTA barrier; `waits` if it also leaves with it.
    pub(crate) fn barrier_arrive(&mut self, id: usize, first: usize, mask: u32, waits: bool) {
        self.begin();
        let (released, waiting) = &mut self.barriers[id];
        let threads = (0..32).filter(|lane| mask >> lane & 1 == 1).map(|lane| first + lane);
        if waits {
            // They do nothing before the barrier completes: it is time enough to ask them then.
            waiting.extend(threads);
        } else {
            threads.for_each(|thread| self.clocks.release(thread, released));
        }
    }

    pub(crate) fn barrier_complete(&mut self, id: usize) {
        let (mut released, waiting) = std::mem::take(&mut self.barriers[id]);
        if waiting.len() == self.threads {
            self.clocks.meet_all();
            return;
        }
        for &thread in &waiting {
            self.clocks.release(thread, &mut released);
        }
        for thread in waiting {
            self.clocks.acquire(thread, &released);
        }
    }

    /// Room for a new mbarrier.
    pub(crate) fn new_mbarrier(&mut self) -> usize {
        self.begin();
        self.mbarriers.push(History::default());
        (self.mbarriers.len() - 1).min(MBARRIERS - 1)
    }

    pub(crate) fn mbarrier_arrive(&mut self, thread: usize, history: usize) {
        self.clocks.release(thread, &mut self.mbarriers[history].arrived);
    }

    pub(crate) fn mbarrier_complete(&mut self, history: usize, phase: u64) {
        let state = &mut self.mbarriers[history];
        state.completed.join(&std::mem::take(&mut state.arrived));
        state.completed.note(self.threads + history, phase as u32);
    }

    pub(crate) fn mbarrier_acquire(&mut self, thread: usize, history: usize) {
        let completed = std::mem::take(&mut self.mbarriers[history].completed);
        self.clocks.acquire(thread, &completed);
        self.mbarriers[history].completed = completed;
    }

    pub(crate) fn release_word(&mut self, thread: usize, at: usize) {
        self.begin();
        self.clocks.release(thread, self.released.entry(at).or_default());
    }

    pub(crate) fn acquire_word(&mut self, thread: usize, at: usize) {
        if let Some(known) = self.released.get(&at) {
            self.clocks.acquire(thread, known);
        }
    }

    /// A thread's own time, to ask about later.
    pub(crate) fn now(&mut self, thread: usize) -> u32 {
        self.begin();
        self.clocks.now(thread)
    }

    pub(crate) fn proxy_fence(&mut self, first: usize, mask: u32, domains: &[Domain]) {
        self.begin();
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            self.clocks.fence(first + lane, domains);
        }
    }

    /// Whether a proxy fence lies between what a thread did at a time and another thread now.
    pub(crate) fn is_fenced(&self, domain: Domain, thread: usize, done: (usize, u32)) -> bool {
        self.clocks.is_fenced(domain, thread, done)
    }

    /// The ordinary access to a range that no proxy fence separates from a bulk copy that a
    /// thread issues now: a write, or a read as well if the copy `overwrites` the range. Also
    /// says whether it is a write.
    pub(crate) fn unfenced(
        &self,
        thread: usize,
        start: usize,
        bytes: u32,
        overwrites: bool,
    ) -> Option<(u32, bool)> {
        let exposed = |mark: &&Mark| {
            let done = (usize::from(mark.party), mark.time);
            mark.class != Class::Bulk
                && mark.party != IN_FLIGHT
                && !self.clocks.is_fenced(Domain::Shared, thread, done)
        };
        let words = &self.words[start / 4..(start + bytes as usize).div_ceil(4)];
        words.iter().find_map(|word| {
            let write = word.writes.iter().find(exposed).map(|mark| (mark.pc, true));
            let read = || word.reads.iter().filter(|_| overwrites).find(exposed);
            write.or_else(|| read().map(|mark| (mark.pc, false)))
        })
    }
}

/// Adds a read. Those that it comes after are dropped, but not looked for each time: they conflict
/// with nothing that this one does not conflict with.
fn note_read(reads: &mut Vec<Mark>, mark: Mark, thread: usize, clocks: &Clocks) {
    let replaced = |old: &Mark| {
        old.party != IN_FLIGHT && old.class == mark.class && old.bytes & !mark.bytes == 0
    };
    if let Some(last) = reads.last_mut()
        && last.party == mark.party
        && replaced(last)
    {
        *last = mark;
        return;
    }
    if reads.len() >= 4 && reads.len().is_power_of_two() {
        reads.retain(|old| {
            !(replaced(old) && clocks.knows(thread, usize::from(old.party), old.time))
        });
    }
    reads.push(mark);
}

fn conflict(
    word: &Word,
    clocks: &Clocks,
    thread: usize,
    bytes: u8,
    usage: Use,
) -> Option<Conflict> {
    let unordered = |mark: &&Mark| {
        mark.bytes & bytes != 0
            && !(mark.class == Class::Atomic && usage.is_atomic())
            && (mark.party == IN_FLIGHT
                || !clocks.knows(thread, usize::from(mark.party), mark.time))
    };
    let flight = |mark: &Mark| usize::from(mark.party) >= clocks.threads();
    if let Some(mark) = word.writes.iter().find(unordered) {
        let (kind, what) = if flight(mark) {
            (FaultKind::AsyncRace, "an asynchronous copy to these bytes")
        } else {
            (FaultKind::SharedRace, "a write of these bytes")
        };
        return Some(Conflict { kind, what, pc: mark.pc });
    }
    if !usage.writes() {
        return None;
    }
    let mark = word.reads.iter().find(unordered)?;
    let (kind, what) = if flight(mark) {
        (FaultKind::AsyncRace, "an asynchronous copy from these bytes")
    } else if usage == Use::AsyncWrite {
        (FaultKind::AsyncRace, "a read of these bytes, which the copy overwrites,")
    } else {
        (FaultKind::SharedRace, "a read of these bytes")
    };
    Some(Conflict { kind, what, pc: mark.pc })
}

fn clear(marks: &mut Vec<Mark>, bytes: u8) {
    marks.retain_mut(|mark| {
        mark.bytes &= !bytes;
        mark.bytes != 0
    });
}

fn replace(marks: &mut Vec<Mark>, mark: Mark) {
    clear(marks, mark.bytes);
    marks.push(mark);
}
