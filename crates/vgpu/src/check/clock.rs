//! Vector clocks: what each thread knows of the others (L. Lamport, 1978; C. Fidge, 1988).

/// Clocks of a fixed number of parties, and what each knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clocks {
    /// Each party's own time.
    now: Vec<u32>,
    /// What everybody knows since the last barrier of all.
    base: Vec<u32>,
    /// What a thread knows besides; empty if nothing.
    rows: Vec<Vec<u32>>,
}

impl Clocks {
    /// Begins anew with `threads` threads, and room for parties of other kinds behind them.
    pub(crate) fn reset(&mut self, threads: usize, others: usize) {
        let parties = threads + others;
        self.now.clear();
        self.now.resize(parties, 1);
        self.base.clear();
        self.base.resize(parties, 0);
        self.rows.resize_with(threads, Vec::new);
        for row in &mut self.rows {
            row.clear();
        }
    }

    /// Threads among the parties.
    pub(crate) fn threads(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn now(&self, party: usize) -> u32 {
        self.now[party]
    }

    /// Whether a thread knows that a party had reached a time.
    #[inline]
    pub(crate) fn knows(&self, thread: usize, party: usize, time: u32) -> bool {
        thread == party
            || self.base[party] >= time
            || self.rows[thread].get(party).is_some_and(|&known| known >= time)
    }

    /// Adds to a list of times all that a thread knows, and its own time; its next step is new.
    pub(crate) fn release(&mut self, thread: usize, into: &mut Vec<u32>) {
        into.resize(self.now.len(), 0);
        for (party, time) in into.iter_mut().enumerate() {
            let row = self.rows[thread].get(party).copied().unwrap_or(0);
            *time = (*time).max(row).max(self.base[party]);
        }
        into[thread] = into[thread].max(self.now[thread]);
        self.now[thread] += 1;
    }

    /// The thread learns a list of times.
    pub(crate) fn acquire(&mut self, thread: usize, from: &[u32]) {
        let row = &mut self.rows[thread];
        if row.len() < from.len() {
            row.resize(from.len(), 0);
        }
        for (known, &time) in row.iter_mut().zip(from) {
            *known = (*known).max(time);
        }
    }

    /// All threads meet: what any has done or known, all know.
    pub(crate) fn meet_all(&mut self) {
        for row in &mut self.rows {
            for (known, time) in self.base.iter_mut().zip(row.drain(..)) {
                *known = (*known).max(time);
            }
        }
        for thread in 0..self.rows.len() {
            self.base[thread] = self.now[thread];
            self.now[thread] += 1;
        }
    }

    /// Some threads meet.
    pub(crate) fn meet(&mut self, threads: impl Iterator<Item = usize> + Clone) {
        let mut all = Vec::new();
        for thread in threads.clone() {
            self.release(thread, &mut all);
        }
        for thread in threads {
            self.acquire(thread, &all);
        }
    }

    /// A snapshot of what a thread knows.
    pub(crate) fn known(&self, thread: usize) -> Vec<u32> {
        let row = &self.rows[thread];
        let of = |party: usize| self.base[party].max(row.get(party).copied().unwrap_or(0));
        (0..self.base.len()).map(of).collect()
    }
}
