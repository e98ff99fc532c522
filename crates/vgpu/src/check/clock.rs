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
#[derive(Debug, Clone)]
struct Knowledge {
    /// What everybody knows since the last barrier of all.
    base: Vec<u32>,
    /// What a thread knows besides; empty if nothing.
    rows: Vec<Vec<u32>>,
}

impl Knowledge {
    fn new(threads: usize, parties: usize) -> Self {
        Self { base: vec![0; parties], rows: vec![Vec::new(); threads] }
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

    fn release(&self, thread: usize, into: &mut Vec<u32>) {
        into.resize(self.base.len(), 0);
        join(into, &self.base);
        join(into, &self.rows[thread]);
    }

    fn acquire(&mut self, thread: usize, from: &[u32]) {
        let row = &mut self.rows[thread];
        if row.len() < from.len() {
            row.resize(from.len(), 0);
        }
        join(row, from);
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
        self.known.resize(self.known.len().max(other.known.len()), 0);
        join(&mut self.known, &other.known);
        self.fenced.resize(self.fenced.len().max(other.fenced.len()), Vec::new());
        for (into, from) in self.fenced.iter_mut().zip(&other.fenced) {
            into.resize(into.len().max(from.len()), 0);
            join(into, from);
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
#[derive(Debug, Clone)]
pub(crate) struct Clocks {
    /// Each party's own time.
    now: Vec<u32>,
    known: Knowledge,
    /// What happened before a proxy fence that the thread has run or knows of, by domain: what
    /// may be touched by the other proxy. Empty if no fences are tracked.
    fenced: Vec<Knowledge>,
}

impl Clocks {
    /// `threads` threads, and room for parties of other kinds behind them; `proxies` says whether
    /// fences between proxies are tracked.
    pub(crate) fn new(threads: usize, others: usize, proxies: bool) -> Self {
        let parties = threads + others;
        let domains = if proxies { DOMAINS } else { 0 };
        Self {
            now: vec![1; parties],
            known: Knowledge::new(threads, parties),
            fenced: vec![Knowledge::new(threads, parties); domains],
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
        into.known[thread] = into.known[thread].max(self.now[thread]);
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

    /// All threads meet: what any has done or known, all know.
    pub(crate) fn meet_all(&mut self) {
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
