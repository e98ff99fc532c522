//! Taking blocks from running sequences, which later recompute what the cache has lost.

use crate::{SchedulingPolicy, scheduler::Scheduler};

impl Scheduler {
    /// The lowest class gives way, the newest of it first. Its key puts it in front of everything
    /// of its class that has not run yet.
    pub(super) fn preempt_last(&mut self, step: u64) {
        let Some(slot) = self.queues.pop_running() else { return };
        let sequence = &mut self.sequences[slot];
        self.kv.release(sequence);
        sequence.preempted_in = step;
        if std::mem::take(&mut sequence.resident) {
            self.released.push(sequence.id);
        }
        self.preemptions += 1;
        self.enqueue(slot);
    }

    /// Under the priority policy, displaces running sequences of lower classes when the first
    /// waiting one has no room otherwise, and only if that makes enough of it.
    pub(super) fn make_way(&mut self, step: u64) {
        if self.config.policy != SchedulingPolicy::Priority {
            return;
        }
        let Some((key, slot)) = self.queues.first_waiting() else { return };
        let running = &self.queues.running;
        let first_lower =
            running.partition_point(|&other| self.sequences[other].key.class <= key.class);
        if first_lower == running.len() {
            return;
        }
        self.kv.lookup(&mut self.sequences[slot]);
        let sequence = &self.sequences[slot];
        let (mut fits, places) = (self.kv.fits(sequence), self.config.max_num_seqs);
        let mut keep = running.len();
        while keep > first_lower && (!fits || keep >= places) {
            keep -= 1;
            let leaving = running[keep..].iter().map(|&other| &self.sequences[other]);
            fits = self.kv.would_fit_without(sequence, leaving);
        }
        if fits && keep < places {
            while self.queues.running.len() > keep {
                self.preempt_last(step);
            }
        }
    }
}
