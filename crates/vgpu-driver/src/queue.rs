//! Submitted work that has not run, and the choice of what runs next.
//!
//! Work may run when everything that it comes after has run: earlier work of its stream, events
//! that the stream waits for, and what the legacy default stream orders. Which of several that may
//! run goes first is open on a GPU; here it is chosen, so that a missing order shows.

use std::collections::BTreeMap;

use crate::{settings::Streams, work::Work};

/// Number of a piece of work; later ones are greater.
pub(crate) type OpId = u64;

/// Work that waits.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) context: usize,
    pub(crate) after: Vec<OpId>,
    pub(crate) work: Work,
}

#[derive(Debug)]
pub(crate) struct Queue {
    order: Streams,
    random: Random,
    next: OpId,
    pending: BTreeMap<OpId, Op>,
}

impl Queue {
    /// Work that a stream holds back before a submission has to wait, as drivers do.
    pub(crate) const CAPACITY: usize = 1024;

    pub(crate) fn new(order: Streams) -> Self {
        let seed = if let Streams::Random(seed) = order { seed } else { 0 };
        Self { order, random: Random::new(seed), next: 1, pending: BTreeMap::new() }
    }

    pub(crate) fn runs_at_once(&self) -> bool {
        self.order == Streams::Eager
    }

    pub(crate) fn push(&mut self, mut op: Op) -> OpId {
        let id = self.next;
        self.next += 1;
        op.after.retain(|before| self.pending.contains_key(before));
        self.pending.insert(id, op);
        id
    }

    pub(crate) fn is_pending(&self, id: OpId) -> bool {
        self.pending.contains_key(&id)
    }

    pub(crate) fn is_over_full(&self) -> bool {
        self.pending.len() > Self::CAPACITY
    }

    /// Ids of a context's waiting work.
    pub(crate) fn of(&self, context: usize) -> Vec<OpId> {
        self.pending.iter().filter(|(_, op)| op.context == context).map(|(id, _)| *id).collect()
    }

    /// Takes out the work that goes next; `None` if none waits.
    pub(crate) fn take_next(&mut self) -> Option<Op> {
        let ready = |op: &Op| !op.after.iter().any(|before| self.pending.contains_key(before));
        let mut all = self.pending.iter().filter(|(_, op)| ready(op)).map(|(id, _)| *id);
        let id = match self.order {
            Streams::Eager | Streams::Oldest => all.next()?,
            Streams::Newest => all.next_back()?,
            Streams::Random(_) => {
                let ready: Vec<OpId> = all.collect();
                *ready.get(self.random.below(ready.len())?)?
            }
        };
        self.pending.remove(&id)
    }
}

/// Pseudo-random numbers (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014: `SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; `None` if there is none.
    fn below(&mut self, end: usize) -> Option<usize> {
        (end > 0).then(|| (self.next() % end as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(after: &[OpId]) -> Op {
        Op { context: 1, after: after.to_vec(), work: Work::Marker }
    }

    /// The order in which three streams of three pieces each run, as indices of submission.
    fn order(streams: Streams) -> Vec<u64> {
        let mut queue = Queue::new(streams);
        let mut tails = [0; 3];
        for index in 0..9 {
            let stream = index % 3;
            tails[stream] = queue.push(op(&[tails[stream]]));
        }
        let mut ran = Vec::new();
        while !queue.of(1).is_empty() {
            let before: Vec<OpId> = queue.of(1);
            queue.take_next().unwrap();
            let after: Vec<OpId> = queue.of(1);
            ran.extend(before.into_iter().filter(|id| !after.contains(id)));
        }
        ran
    }

    #[test]
    fn every_order_keeps_that_of_each_stream() {
        let mut distinct = std::collections::BTreeSet::new();
        let orders = [Streams::Eager, Streams::Oldest, Streams::Newest]
            .into_iter()
            .chain((0..20).map(Streams::Random));
        for streams in orders {
            let ran = order(streams);
            for stream in 0..3 {
                let of_stream: Vec<u64> =
                    ran.iter().copied().filter(|id| (id - 1) % 3 == stream).collect();
                assert!(of_stream.is_sorted(), "{streams:?}: {ran:?}");
            }
            distinct.insert(ran);
        }
        assert!(distinct.len() > 10, "the orders hardly differ");
        assert_eq!(order(Streams::Newest), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        assert_eq!(order(Streams::Random(5)), order(Streams::Random(5)));
    }

    #[test]
    fn work_that_ran_holds_nothing_back() {
        let mut queue = Queue::new(Streams::Newest);
        let first = queue.push(op(&[]));
        queue.take_next().unwrap();
        assert!(!queue.is_pending(first));
        queue.push(op(&[first]));
        assert!(queue.take_next().is_some());
        assert!(queue.take_next().is_none());
    }
}
