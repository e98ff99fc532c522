//! Random CTAs: the same conflicts as the definition, which forgets no access.

use super::SharedRaces;
use crate::check::{Access, Use};
use crate::schedule::Random;

const WARPS: usize = 3;
const THREADS: usize = 32 * WARPS;
const BYTES: usize = 32;

/// Vector clocks of all threads, and all accesses.
struct Definition {
    clocks: Vec<Vec<u32>>,
    released: Vec<Vec<u32>>,
    /// Byte, thread, its time, atomic, write.
    accesses: Vec<(usize, usize, u32, bool, bool)>,
}

impl Definition {
    fn new() -> Self {
        let mut clocks = vec![vec![0; THREADS]; THREADS];
        for (thread, clock) in clocks.iter_mut().enumerate() {
            clock[thread] = 1;
        }
        let released = vec![vec![0; THREADS]; BYTES];
        Self { clocks, released, accesses: Vec::new() }
    }

    /// What a thread knows, which goes on to something new.
    fn release(&mut self, thread: usize) -> Vec<u32> {
        let known = self.clocks[thread].clone();
        self.clocks[thread][thread] += 1;
        known
    }

    fn acquire(&mut self, thread: usize, known: &[u32]) {
        join(&mut self.clocks[thread], known);
    }

    /// Threads arrive together; some of them also leave together.
    fn meet(&mut self, arriving: &[usize], leaving: &[usize]) {
        let mut all = vec![0; THREADS];
        for &thread in arriving {
            let known = self.release(thread);
            join(&mut all, &known);
        }
        for &thread in leaving {
            self.acquire(thread, &all);
        }
    }

    fn conflicts(&mut self, thread: usize, touch: Access) -> bool {
        let (atomic, write) = (touch.usage.is_atomic(), touch.usage.writes());
        let start = touch.address as usize;
        let bytes = start..start + touch.bytes as usize;
        let clock = &self.clocks[thread];
        let clash = self.accesses.iter().any(|&(byte, other, time, was_atomic, wrote)| {
            bytes.contains(&byte)
                && (write || wrote)
                && !(atomic && was_atomic)
                && other != thread
                && clock[other] < time
        });
        let time = clock[thread];
        self.accesses.extend(bytes.map(|byte| (byte, thread, time, atomic, write)));
        clash
    }
}

fn join(into: &mut [u32], from: &[u32]) {
    for (known, time) in into.iter_mut().zip(from) {
        *known = (*known).max(*time);
    }
}

fn lanes_of(warp: usize, mask: u32) -> Vec<usize> {
    (0..32).filter(|lane| mask >> lane & 1 == 1).map(|lane| 32 * warp + lane).collect()
}

/// One thing that makes order, in both.
fn synchronise(races: &mut SharedRaces, definition: &mut Definition, random: &mut Random) {
    let warp = random.below(WARPS);
    match random.below(5) {
        0 => {
            let mask = [0x3, 0xffff, u32::MAX][random.below(3)];
            races.warp_sync(32 * warp, mask);
            let lanes = lanes_of(warp, mask);
            definition.meet(&lanes, &lanes);
        }
        1 => {
            for warp in 0..WARPS {
                races.barrier_arrive(0, 32 * warp, u32::MAX, true);
            }
            races.barrier_complete(0);
            let all: Vec<usize> = (0..THREADS).collect();
            definition.meet(&all, &all);
        }
        2 => {
            let next = (warp + 1) % WARPS;
            let both_wait = random.below(2) == 0;
            races.barrier_arrive(1, 32 * warp, u32::MAX, both_wait);
            races.barrier_arrive(1, 32 * next, u32::MAX, true);
            races.barrier_complete(1);
            let (first, second) = (lanes_of(warp, u32::MAX), lanes_of(next, u32::MAX));
            let all = [first, second.clone()].concat();
            definition.meet(&all, if both_wait { &all } else { &second });
        }
        _ => {
            let (from, to) = (32 * warp, 32 * ((warp + 1) % WARPS));
            let at = 4 * random.below(BYTES / 4);
            races.release_word(from, at);
            races.acquire_word(to, at);
            let known = definition.release(from);
            join(&mut definition.released[at], &known);
            let released = definition.released[at].clone();
            definition.acquire(to, &released);
        }
    }
}

/// Runs CTAs until each has its first conflict; returns how many had one.
fn compare(usages: &[Use], ordering: usize, proxies: bool) -> usize {
    let mut races = SharedRaces::new(BYTES, THREADS, proxies);
    let mut found = 0;
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let mut definition = Definition::new();
        races.reset();
        for step in 0..200 {
            if random.below(16) < ordering {
                synchronise(&mut races, &mut definition, &mut random);
                continue;
            }
            let thread = 32 * random.below(WARPS) + random.below(2);
            let bytes = [1, 2, 4, 4, 8][random.below(5)];
            let touch = Access {
                address: (bytes * random.below(BYTES / bytes)) as u64,
                bytes: bytes as u32,
                usage: usages[random.below(usages.len())],
                pc: step,
            };
            let conflict = races.access(thread, touch).is_some();
            let defined = definition.conflicts(thread, touch);
            assert_eq!(conflict, defined, "CTA {seed}, step {step}: {thread} {touch:?}");
            if conflict {
                found += 1;
                break;
            }
        }
    }
    found
}

#[test]
fn conflicts_are_those_of_the_definition() {
    let usages = [Use::Read, Use::Read, Use::Read, Use::Write, Use::AtomicRead, Use::Atomic];
    for proxies in [false, true] {
        let found = compare(&usages, 14, proxies);
        assert!(found > 500, "{found}");
    }
}

#[test]
fn many_reads_hide_no_conflict_with_a_write() {
    let mut usages = vec![Use::Read; 40];
    usages.push(Use::Write);
    let found = compare(&usages, 8, false);
    assert!(found > 500, "{found}");
}
