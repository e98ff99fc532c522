//! Vector clocks: what each thread knows of the others (L. Lamport, 1978; C. Fidge, 1988).

/// What a fence between proxies covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    Shared,
    Global,
    /// mbarriers that were initialised.
    Init,
}

/// Domains that are told apart.
const DOMAINS: usize = 3;

/// What each thread knows: a time of every party.
#[derive(Debug, Clone, Default)]
struct Knowledge {
    /// What everybody knows since the last barrier of all.
    base: Vec<u32>,
    /// What a thread knows besides; empty if nothing.
    rows: Vec<Vec<u32>>,
}

impl Knowledge {
    fn reset(&mut self, threads: usize, parties: usize) {
        self.base.clear();
        self.base.resize(parties, 0);
        self.rows.resize_with(threads, Vec::new);
        self.rows.iter_mut().for_each(Vec::clear);
    }

    #[inline]
    fn covers(&self, thread: usize, party: usize, time: u32) -> bool {
        self.base[party] >= time || self.rows[thread].get(party).is_some_and(|&known| known >= time)
    }

    /// All that a thread knows.
    fn of(&self, thread: usize) -> Vec<u32> {
        let row = &self.rows[thread];
        let known = |party: usize| self.base[party].max(row.get(party).copied().unwrap_or(0));
        (0..self.base.len()).map(known).collect()
    }

    /// Adds what the thread knows and not everybody: the rest never has to be told.
    fn release(&self, thread: usize, into: &mut Vec<u32>) {
        join_longer(into, &self.rows[thread]);
    }

    fn acquire(&mut self, thread: usize, from: &[u32]) {
        join_longer(&mut self.rows[thread], from);
    }

    fn meet_all(&mut self) {
        for row in &mut self.rows {
            join(&mut self.base, row);
            row.clear();
        }
    }
}

fn join(into: &mut [u32], from: &[u32]) {
    for (known, &time) in into.iter_mut().zip(from) {
        *known = (*known).max(time);
    }
}

/// The same, where the second list may be the longer.
fn join_longer(into: &mut Vec<u32>, from: &[u32]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    join(into, from);
}

/// What threads that arrived somewhere knew together, for those that leave with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    known: Vec<u32>,
    /// The part of it that a proxy fence lies behind, by domain; empty if no fences are tracked.
    fenced: Vec<Vec<u32>>,
}

impl Times {
    /// Adds what others knew.
    pub(crate) fn join(&mut self, other: &Self) {
        join_longer(&mut self.known, &other.known);
        self.fenced.resize(self.fenced.len().max(other.fenced.len()), Vec::new());
        for (into, from) in self.fenced.iter_mut().zip(&other.fenced) {
            join_longer(into, from);
        }
    }

    /// Adds a party's time.
    pub(crate) fn note(&mut self, party: usize, time: u32) {
        if self.known.len() <= party {
            self.known.resize(party + 1, 0);
        }
        self.known[party] = self.known[party].max(time);
    }
}

/// Clocks of a fixed number of parties, and what each knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clocks {
    /// Each party's own time.
    now: Vec<u32>,
    /// How many times all threads have met.
    meetings: u32,
    known: Knowledge,
    /// What happened before a proxy fence that the thread has run or knows of, by domain: what
    /// may be touched by the other proxy. Empty if no fences are tracked.
    fenced: Vec<Knowledge>,
}

impl Clocks {
    /// Begins anew with `threads` threads, and room for parties of other kinds behind them;
    /// `proxies` says whether fences between proxies are tracked.
    pub(crate) fn reset(&mut self, threads: usize, others: usize, proxies: bool) {
        let parties = threads + others;
        self.now.clear();
        self.now.resize(parties, 1);
        self.meetings = 0;
        self.fenced.resize_with(if proxies { DOMAINS } else { 0 }, Knowledge::default);
        for knowledge in self.fenced.iter_mut().chain([&mut self.known]) {
            knowledge.reset(threads, parties);
        }
    }

    /// Threads among the parties.
    pub(crate) fn threads(&self) -> usize {
        self.known.rows.len()
    }

    pub(crate) fn now(&self, party: usize) -> u32 {
        self.now[party]
    }

    /// Whether a thread knows that a party had reached a time.
    #[inline]
    pub(crate) fn knows(&self, thread: usize, party: usize, time: u32) -> bool {
        thread == party || self.known.covers(thread, party, time)
    }

    /// Whether a proxy fence lies between a party's time and a thread.
    pub(crate) fn is_fenced(
        &self,
        domain: Domain,
        thread: usize,
        (party, time): (usize, u32),
    ) -> bool {
        self.fenced.get(domain as usize).is_none_or(|fenced| fenced.covers(thread, party, time))
    }

    /// A thread runs a proxy fence: all that it knows is behind it; its next step is not.
    pub(crate) fn fence(&mut self, thread: usize, domains: &[Domain]) {
        let mut known = self.known.of(thread);
        known[thread] = self.now[thread];
        for &domain in domains {
            if let Some(fenced) = self.fenced.get_mut(domain as usize) {
                fenced.acquire(thread, &known);
            }
        }
        self.now[thread] += 1;
    }

    /// Adds to a list of times all that a thread knows, and its own time; its next step is new.
    pub(crate) fn release(&mut self, thread: usize, into: &mut Times) {
        self.known.release(thread, &mut into.known);
        into.note(thread, self.now[thread]);
        into.fenced.resize(self.fenced.len(), Vec::new());
        for (fenced, into) in self.fenced.iter().zip(&mut into.fenced) {
            fenced.release(thread, into);
        }
        self.now[thread] += 1;
    }

    /// The thread learns a list of times.
    pub(crate) fn acquire(&mut self, thread: usize, from: &Times) {
        self.known.acquire(thread, &from.known);
        for (fenced, from) in self.fenced.iter_mut().zip(&from.fenced) {
            fenced.acquire(thread, from);
        }
    }

    /// How many times all threads have met: what happened before the last of them, all know.
    pub(crate) fn meetings(&self) -> u32 {
        self.meetings
    }

    /// All threads meet: what any has done or known, all know.
    pub(crate) fn meet_all(&mut self) {
        self.meetings += 1;
        self.known.meet_all();
        for thread in 0..self.threads() {
            self.known.base[thread] = self.now[thread];
            self.now[thread] += 1;
        }
        self.fenced.iter_mut().for_each(Knowledge::meet_all);
    }

    /// Some threads meet.
    pub(crate) fn meet(&mut self, threads: impl Iterator<Item = usize> + Clone) {
        let mut all = Times::default();
        for thread in threads.clone() {
            self.release(thread, &mut all);
        }
        for thread in threads {
            self.acquire(thread, &all);
        }
    }
}

#[cfg(test)]
mod tests;
