//! Races in shared memory, by what happens before what (the idea of `FastTrack`: C. Flanagan and
//! S. Freund, 2009): each byte remembers its last write and the reads since.

use super::clock::Clocks;
use super::{Access, Use};
use crate::error::FaultKind;

/// mbarriers of a CTA whose history is kept.
const MBARRIERS: usize = 256;

/// A party that stands for copies not waited for.
const IN_FLIGHT: u16 = u16::MAX;

/// Who touched a byte when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    party: u16,
    atomic: bool,
    /// Bytes of the word, one bit each.
    bytes: u8,
    time: u32,
    pc: u32,
}

/// History of four bytes.
#[derive(Debug, Clone, Default)]
struct Word {
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
    arrived: Vec<u32>,
    /// Knowledge that waiting for the last phase gives.
    completed: Vec<u32>,
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
    barriers: Vec<(Vec<u32>, Vec<usize>)>,
    mbarriers: Vec<History>,
    /// Knowledge released to words by atomics.
    released: std::collections::HashMap<usize, Vec<u32>>,
    /// Time of each thread's last proxy fence, and what it knew then.
    fences: Vec<(u32, Vec<u32>)>,
}

impl SharedRaces {
    pub(crate) fn new(bytes: usize, threads: usize) -> Self {
        Self {
            bytes,
            threads,
            begun: false,
            words: Vec::new(),
            clocks: Clocks::default(),
            barriers: Vec::new(),
            mbarriers: Vec::new(),
            released: std::collections::HashMap::new(),
            fences: Vec::new(),
        }
    }

    /// Makes room for what is to be noted.
    #[inline]
    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.words.resize_with(self.bytes.div_ceil(4), Word::default);
            self.clocks.reset(self.threads, MBARRIERS);
            self.barriers.resize_with(16, Default::default);
            self.fences.resize_with(self.threads, Default::default);
        }
    }

    /// Forgets everything, for the next CTA.
    pub(crate) fn reset(&mut self) {
        if std::mem::take(&mut self.begun) {
            for word in &mut self.words {
                word.writes.clear();
                word.reads.clear();
            }
            self.barriers.clear();
            self.mbarriers.clear();
            self.released.clear();
            self.fences.clear();
        }
    }

    /// Notes an access; returns an earlier one that it conflicts with.
    pub(crate) fn access(&mut self, thread: usize, touch: Access) -> Option<Conflict> {
        self.begin();
        let (start, end) = (touch.address as usize, touch.address as usize + touch.bytes as usize);
        for index in start / 4..end.div_ceil(4) {
            let (low, high) =
                (start.max(4 * index) - 4 * index, end.min(4 * index + 4) - 4 * index);
            let bytes = (0xf_u8 >> (4 - (high - low))) << low;
            let word = &mut self.words[index];
            if let Some(found) = conflict(word, &self.clocks, thread, bytes, touch.usage) {
                return Some(found);
            }
            let in_flight = matches!(touch.usage, Use::AsyncWrite | Use::AsyncRead);
            let mark = Mark {
                party: if in_flight { IN_FLIGHT } else { thread as u16 },
                atomic: touch.usage.is_atomic(),
                bytes,
                time: self.clocks.now(thread),
                pc: touch.pc,
            };
            if touch.usage.writes() && mark.atomic {
                // Plain writes stay: later atomics must come after them, but need not after this.
                let clocks = &self.clocks;
                word.writes.retain(|old| {
                    !old.atomic
                        || old.bytes & !bytes != 0
                        || !clocks.knows(thread, usize::from(old.party), old.time)
                });
                word.writes.push(mark);
            } else if touch.usage.writes() {
                replace(&mut word.writes, mark);
                // All reads of these bytes happened before, or a conflict had been found.
                clear(&mut word.reads, bytes);
            } else {
                let clocks = &self.clocks;
                word.reads.retain(|old| {
                    old.party == IN_FLIGHT
                        || old.atomic != mark.atomic
                        || old.bytes & !bytes != 0
                        || !clocks.knows(thread, usize::from(old.party), old.time)
                });
                word.reads.push(mark);
            }
        }
        None
    }

    /// A copy has landed: for the thread that waited for its group, or for whoever waits for a
    /// phase of an mbarrier.
    pub(crate) fn landed(
        &mut self,
        thread: usize,
        start: usize,
        bytes: u32,
        phase: Option<(usize, u64)>,
        pc: u32,
    ) {
        self.begin();
        let (party, time) = match phase {
            Some((history, phase)) => (self.threads + history, phase as u32),
            None => (thread, self.clocks.now(thread)),
        };
        for index in start / 4..(start + bytes as usize).div_ceil(4) {
            let mark = Mark { party: party as u16, atomic: false, bytes: 0xf, time, pc };
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
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            self.clocks.release(first + lane, released);
            if waits {
                waiting.push(first + lane);
            }
        }
    }

    pub(crate) fn barrier_complete(&mut self, id: usize) {
        let (released, waiting) = std::mem::take(&mut self.barriers[id]);
        if waiting.len() == self.threads {
            self.clocks.meet_all();
            return;
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
        let arrived = std::mem::take(&mut state.arrived);
        state.completed.resize(self.threads + MBARRIERS, 0);
        for (known, time) in state.completed.iter_mut().zip(arrived) {
            *known = (*known).max(time);
        }
        state.completed[self.threads + history] = phase as u32;
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

    pub(crate) fn proxy_fence(&mut self, first: usize, mask: u32) {
        self.begin();
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            let thread = first + lane;
            self.fences[thread] = (self.clocks.now(thread), self.clocks.known(thread));
            // A later write is not covered.
            let mut nobody = Vec::new();
            self.clocks.release(thread, &mut nobody);
        }
    }

    /// A write in a range that no proxy fence separates from a copy that a thread issues now.
    pub(crate) fn unfenced(&self, thread: usize, start: usize, bytes: u32) -> Option<u32> {
        let words = &self.words[start / 4..(start + bytes as usize).div_ceil(4)];
        let writes = words.iter().flat_map(|word| &word.writes);
        writes
            .filter(|write| usize::from(write.party) < self.threads)
            .find(|write| {
                let writer = usize::from(write.party);
                let own = self.fences[writer].0 >= write.time;
                let (time, known) = &self.fences[thread];
                let issuer = writer == thread && *time >= write.time
                    || known.get(writer).is_some_and(|&known| known >= write.time);
                !(own || issuer)
            })
            .map(|write| write.pc)
    }
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
            && !(mark.atomic && usage.is_atomic())
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
