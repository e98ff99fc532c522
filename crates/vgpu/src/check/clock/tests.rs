//! Random threads: a fence lies between two events if there is one on a path in the graph of what
//! happens before what, which is searched here.

use super::{Clocks, Domain, Times};
use crate::schedule::Random;

const THREADS: usize = 5;
const CELLS: usize = 2;

/// Events with those that come directly before each, and which of them are fences of what.
#[derive(Default)]
struct Graph {
    before: Vec<Vec<usize>>,
    fences: Vec<Option<Domain>>,
    /// Last event of each thread.
    last: [Option<usize>; THREADS],
    /// Events that what is released to a cell holds.
    cells: [Vec<usize>; CELLS],
}

impl Graph {
    fn event(&mut self, thread: usize, fence: Option<Domain>, more: &[usize]) -> usize {
        let mut before = more.to_vec();
        before.extend(self.last[thread]);
        self.before.push(before);
        self.fences.push(fence);
        self.last[thread] = Some(self.before.len() - 1);
        self.before.len() - 1
    }

    /// Events from which a path leads to one of these, themselves included.
    fn ancestors(&self, mut open: Vec<usize>) -> Vec<bool> {
        let mut found = vec![false; self.before.len()];
        while let Some(event) = open.pop() {
            if !std::mem::replace(&mut found[event], true) {
                open.extend_from_slice(&self.before[event]);
            }
        }
        found
    }

    /// Events between which and what a thread does next there is a fence, and all that lie before.
    fn seen_from(&self, thread: usize, domain: Domain) -> [Vec<bool>; 2] {
        let before = self.ancestors(self.last[thread].into_iter().collect());
        let fences =
            (0..before.len()).filter(|&event| before[event] && self.fences[event] == Some(domain));
        let fenced = self.ancestors(fences.collect());
        [fenced, before]
    }
}

/// Some threads, at least one.
fn some(random: &mut Random) -> Vec<usize> {
    let mask = 1 + random.below((1 << THREADS) - 1);
    (0..THREADS).filter(|thread| mask >> thread & 1 == 1).collect()
}

/// All of these threads wait for each other.
fn meet(graph: &mut Graph, threads: &[usize]) {
    let arrived: Vec<usize> = threads.iter().filter_map(|&thread| graph.last[thread]).collect();
    for &thread in threads {
        graph.event(thread, None, &arrived);
    }
}

#[test]
fn a_fence_counts_if_and_only_if_it_lies_on_a_path() {
    const DOMAINS: [Domain; 3] = [Domain::Shared, Domain::Global, Domain::Init];
    let (mut fenced_pairs, mut open_pairs) = (0, 0);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut clocks, mut graph) = (Clocks::default(), Graph::default());
        clocks.reset(THREADS, 0, true);
        let mut cells = vec![Times::default(); CELLS];
        // Thread, its time and the event of each access.
        let mut accesses: Vec<(usize, u32, usize)> = Vec::new();
        for _ in 0..40 {
            let (thread, cell) = (random.below(THREADS), random.below(CELLS));
            match random.below(8) {
                0..=2 => {
                    let event = graph.event(thread, None, &[]);
                    accesses.push((thread, clocks.now(thread), event));
                }
                3 => {
                    let domain = DOMAINS[random.below(3)];
                    clocks.fence(thread, &[domain]);
                    graph.event(thread, Some(domain), &[]);
                }
                4 => {
                    clocks.release(thread, &mut cells[cell]);
                    let event = graph.event(thread, None, &[]);
                    graph.cells[cell].push(event);
                }
                5 => {
                    clocks.acquire(thread, &cells[cell]);
                    let released = graph.cells[cell].clone();
                    graph.event(thread, None, &released);
                }
                6 => {
                    let threads = some(&mut random);
                    clocks.meet(threads.iter().copied());
                    meet(&mut graph, &threads);
                }
                _ => {
                    clocks.meet_all();
                    meet(&mut graph, &(0..THREADS).collect::<Vec<_>>());
                }
            }
            for observer in 0..THREADS {
                for domain in DOMAINS {
                    let [fenced, before] = graph.seen_from(observer, domain);
                    for &(thread, time, event) in &accesses {
                        let found = clocks.is_fenced(domain, observer, (thread, time));
                        assert_eq!(found, fenced[event], "seed {seed}, {domain:?}");
                        assert_eq!(clocks.knows(observer, thread, time), before[event]);
                        *(if found { &mut fenced_pairs } else { &mut open_pairs }) += 1;
                    }
                }
            }
        }
    }
    assert!(fenced_pairs > 10_000 && open_pairs > 10_000, "{fenced_pairs} and {open_pairs}");
}
