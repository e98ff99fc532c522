//! How far a run is, for whoever shows it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts that grow during a run. They are read while it goes on; the outcome has the exact ones.
#[derive(Debug, Default)]
pub struct Progress {
    started: AtomicUsize,
    completed: AtomicUsize,
    failed: AtomicUsize,
    tokens: AtomicUsize,
}

impl Progress {
    /// Requests that were sent.
    pub fn started(&self) -> usize {
        self.started.load(Relaxed)
    }

    /// Requests that were answered.
    pub fn completed(&self) -> usize {
        self.completed.load(Relaxed)
    }

    /// Requests that failed.
    pub fn failed(&self) -> usize {
        self.failed.load(Relaxed)
    }

    /// Token events of all requests, the initial test and warm-up included.
    pub fn tokens(&self) -> usize {
        self.tokens.load(Relaxed)
    }

    pub(crate) fn count_start(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_end(&self, success: bool) {
        let count = if success { &self.completed } else { &self.failed };
        count.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_token(&self) {
        self.tokens.fetch_add(1, Relaxed);
    }
}
