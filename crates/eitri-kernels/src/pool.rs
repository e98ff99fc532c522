//! A fork-join pool for kernels: persistent workers, no allocation per call.

#![allow(unsafe_code, reason = "the job is a borrowed closure handed to threads that outlive it")]

use std::{
    cell::UnsafeCell,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, Thread},
};

use crate::KernelError;

/// How often a waiting thread checks before it parks: some 20 microseconds, longer than the gap
/// between two operations of a step and far shorter than the gap between two requests.
const SPINS: usize = 4096;

type Job = *const (dyn Fn(usize) + Sync);

struct Shared {
    /// Counts up with each job; a worker runs when it differs from the last one it saw.
    epoch: AtomicUsize,
    /// Workers that have not finished the current job.
    remaining: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    parked: Vec<AtomicBool>,
    panicked: AtomicBool,
    stop: AtomicBool,
}

// SAFETY: `job` is written only while no worker runs (remaining == 0, under the caller's lock) and
// read by workers only after the release store of `epoch` that follows the write.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` is only dereferenced while `run` keeps its referent alive.
unsafe impl Send for Shared {}

/// A fixed set of threads that run one closure together. The caller is thread 0.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, JoinHandle<()>)>,
    turn: Mutex<()>,
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads()).finish()
    }
}

/// Runs once on each worker thread with its index, before any job; for pinning and naming.
pub type ThreadStart = Arc<dyn Fn(usize) + Send + Sync>;

impl ThreadPool {
    /// Starts `threads - 1` workers; `threads` is at least 1.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn new(threads: usize, on_start: Option<&ThreadStart>) -> Result<Self, KernelError> {
        let workers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            remaining: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            parked: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let mut pool = Self { shared, workers: Vec::with_capacity(workers), turn: Mutex::new(()) };
        for index in 0..workers {
            let shared = Arc::clone(&pool.shared);
            let start = on_start.cloned();
            let handle = thread::Builder::new()
                .name(format!("eitri-kernel-{}", index + 1))
                .spawn(move || {
                    if let Some(start) = start {
                        start(index + 1);
                    }
                    work(&shared, index);
                })
                .map_err(KernelError::Thread)?;
            pool.workers.push((handle.thread().clone(), handle));
        }
        Ok(pool)
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job(thread)` once on every thread and returns when all have finished.
    ///
    /// # Errors
    /// When a worker's job panicked; the pool stays usable.
    pub fn run(&self, job: &(dyn Fn(usize) + Sync)) -> Result<(), KernelError> {
        if self.workers.is_empty() {
            job(0);
            return Ok(());
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime is erased. The guard below waits until every worker has
        // finished, also when `job(0)` unwinds, so the closure outlives each use of the pointer.
        #[allow(clippy::transmute_ptr_to_ptr, reason = "an `as` cast cannot erase the lifetime")]
        let erased: Job = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(std::ptr::from_ref(job))
        };
        // SAFETY: no worker runs (remaining is 0 between jobs) and `_turn` excludes other callers.
        unsafe { *self.shared.job.get() = Some(erased) };
        self.shared.remaining.store(self.workers.len(), Ordering::Relaxed);
        // SeqCst pairs with the worker's store of `parked` before it re-reads `epoch`.
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (parked, (thread, _)) in self.shared.parked.iter().zip(&self.workers) {
            if parked.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
        let wait = WaitForWorkers(&self.shared);
        job(0);
        drop(wait);
        if self.shared.panicked.swap(false, Ordering::Relaxed) {
            return Err(KernelError::WorkerPanicked);
        }
        Ok(())
    }

    /// Splits `0..items` into ranges of at most `grain` items that threads take in turn, so that a
    /// thread delayed by the system holds up at most one range.
    ///
    /// # Errors
    /// When a worker's job panicked.
    pub fn for_ranges(
        &self,
        items: usize,
        grain: usize,
        job: impl Fn(Range<usize>) + Sync,
    ) -> Result<(), KernelError> {
        let grain = grain.max(1);
        if items <= grain || self.workers.is_empty() {
            if items > 0 {
                job(0..items);
            }
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        self.run(&|_| take(&next, items, grain, &job))
    }

    /// The same, but each thread has a stretch of the items and goes through its ranges in order
    /// before it helps with others': what is requested beyond the end of a range is then its own next
    /// one, not another thread's.
    ///
    /// # Errors
    /// When a worker's job panicked.
    pub fn for_stretches(
        &self,
        items: usize,
        grain: usize,
        job: impl Fn(Range<usize>) + Sync,
    ) -> Result<(), KernelError> {
        let grain = grain.max(1);
        if items <= grain || self.workers.is_empty() {
            return self.for_ranges(items, grain, job);
        }
        let count = self.threads().min(MAX_STRETCHES);
        let start = |stretch: usize| stretch * items / count;
        let next: [Counter; MAX_STRETCHES] =
            std::array::from_fn(|stretch| Counter(AtomicUsize::new(start(stretch))));
        self.run(&|thread| {
            for i in 0..count {
                let stretch = (thread + i) % count;
                take(&next[stretch].0, start(stretch + 1), grain, &job);
            }
        })
    }
}

/// Stretches that items are cut into at most; with more threads some begin in the same.
const MAX_STRETCHES: usize = 16;

/// Alone on its cache line.
#[repr(align(64))]
struct Counter(AtomicUsize);

/// Takes ranges from a counter until it has reached the end.
fn take(next: &AtomicUsize, end: usize, grain: usize, job: &impl Fn(Range<usize>)) {
    loop {
        let start = next.fetch_add(grain, Ordering::Relaxed);
        if start >= end {
            break;
        }
        job(start..(start + grain).min(end));
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (thread, handle) in self.workers.drain(..) {
            thread.unpark();
            // A worker catches panics of its jobs, so joining cannot fail; nothing is lost if it does.
            let _ = handle.join();
        }
    }
}

struct WaitForWorkers<'a>(&'a Shared);

impl Drop for WaitForWorkers<'_> {
    fn drop(&mut self) {
        let mut spins = 0_usize;
        while self.0.remaining.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                // More threads than free cores: give the late worker this one.
                thread::yield_now();
            }
        }
    }
}

fn work(shared: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        let epoch = next_epoch(shared, index, seen);
        seen = epoch;
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: the load of the new epoch synchronises with the store in `run`, which follows the
        // write of `job`; `run` does not return before `remaining` is decremented below.
        let job = unsafe { (*shared.job.get()).map(|job| &*job) };
        if let Some(job) = job {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(index + 1)));
            if outcome.is_err() {
                shared.panicked.store(true, Ordering::Relaxed);
            }
        }
        shared.remaining.fetch_sub(1, Ordering::Release);
    }
}

fn next_epoch(shared: &Shared, index: usize, seen: usize) -> usize {
    for _ in 0..SPINS {
        let epoch = shared.epoch.load(Ordering::Acquire);
        if epoch != seen {
            return epoch;
        }
        std::hint::spin_loop();
    }
    loop {
        shared.parked[index].store(true, Ordering::SeqCst);
        let epoch = shared.epoch.load(Ordering::SeqCst);
        if epoch != seen {
            shared.parked[index].store(false, Ordering::SeqCst);
            return epoch;
        }
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_visited_once_by_any_number_of_threads() {
        let more_than_stretches = MAX_STRETCHES + 2;
        for threads in [1, 2, 3, 4, more_than_stretches] {
            let pool = ThreadPool::new(threads, None).unwrap();
            for items in [0, 1, 7, 64, 1000] {
                let hits: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                let visit = |range: Range<usize>| {
                    for i in range {
                        hits[i].fetch_add(1, Ordering::Relaxed);
                    }
                };
                pool.for_ranges(items, 3, visit).unwrap();
                assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
                pool.for_stretches(items, 3, visit).unwrap();
                assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 2));
            }
        }
    }

    #[test]
    fn ten_thousand_short_jobs_neither_hang_nor_overlap() {
        let pool = ThreadPool::new(3, None).unwrap();
        let total = AtomicUsize::new(0);
        for round in 0..10_000 {
            pool.run(&|_| {
                total.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert_eq!(total.load(Ordering::Relaxed), (round + 1) * 3);
        }
    }

    #[test]
    fn a_panicking_worker_is_an_error_and_the_pool_goes_on() {
        let pool = ThreadPool::new(2, None).unwrap();
        let outcome = pool.run(&|thread| assert_ne!(thread, 1, "on purpose"));
        assert!(matches!(outcome, Err(KernelError::WorkerPanicked)));
        pool.run(&|_| {}).unwrap();
    }
}
