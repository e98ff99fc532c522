//! Hands out a step's token budget and the blocks that go with it.
//!
//! There are no phases: every sequence has `computed` tokens chasing the tokens it knows. Decoding
//! sequences come first and take one token each; the rest of the budget goes to prompts, running and
//! waiting ones in one order.
//!
//! # How `max_step` is kept
//!
//! While somebody decodes, prompt chunks are cut so that the predicted step time stays below
//! `max_step`. While nobody decodes, no one waits for a next token, and larger steps are more
//! efficient; but whoever arrives meanwhile waits for the end of the step, so the bound is then
//! [`UNOBSERVED_STEPS`] times `max_step`. When not even a smallest chunk fits, one runs all the
//! same: a bound that cannot be kept must not starve prompts.
//!
//! A prediction can be wrong, so the plan also carries the bound as a [`StepLimit`], and the
//! executor leaves out the end of the last chunks where it sees that it would be late.

mod cost;
mod policy;
mod preempt;

pub(crate) use policy::class;

use std::time::{Duration, Instant};

use crate::{
    Admission, EngineConfig, ScheduledRow, SequenceId, StepLimit, StepPlan,
    kv::Kv,
    scheduler::{
        cost::{CostModel, StepLoad},
        policy::Queues,
    },
    sequence::{Sequence, SequenceState, Slots},
};

/// Multiple of `max_step` allowed for steps in which nobody decodes.
const UNOBSERVED_STEPS: u32 = 4;
/// Share of `max_step` that is left for what happens between steps.
const OVERHEAD_SHARE: u32 = 50;

#[derive(Debug)]
pub(crate) struct Scheduler {
    pub(crate) sequences: Slots<Sequence>,
    pub(crate) kv: Kv,
    pub(crate) queues: Queues,
    /// Slots of the plan's rows.
    pub(crate) row_slots: Vec<usize>,
    /// Prompt tokens looked up and found.
    pub(crate) prefix_queries: u64,
    pub(crate) prefix_hits: u64,
    pub(crate) preemptions: u64,
    /// Sequences that the executor is to drop with the next plan.
    released: Vec<SequenceId>,
    config: EngineConfig,
    cost: CostModel,
    load: StepLoad,
    /// Rows of the step being planned: one token, and more than one.
    single: Vec<usize>,
    chunks: Vec<usize>,
    admitted: Vec<usize>,
}

/// What a waiting sequence met.
#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    Yes,
    /// No place or no blocks.
    NoRoom,
    /// The step is full.
    NoBudget,
}

impl Scheduler {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let rows = config.max_num_seqs;
        Self {
            sequences: Slots::new(),
            kv: Kv::new(config.num_blocks, config.block_size),
            queues: Queues::with_capacity(rows),
            row_slots: Vec::with_capacity(rows),
            prefix_queries: 0,
            prefix_hits: 0,
            preemptions: 0,
            released: Vec::new(),
            cost: CostModel::default(),
            load: StepLoad::default(),
            single: Vec::with_capacity(rows),
            chunks: Vec::with_capacity(rows),
            admitted: Vec::with_capacity(rows),
            config,
        }
    }

    /// Whether there is nothing to compute and nothing to tell the executor.
    pub(crate) fn is_idle(&self) -> bool {
        self.queues.is_empty() && self.released.is_empty()
    }

    /// Fills the next plan.
    pub(crate) fn plan(&mut self, plan: &mut StepPlan, now: Instant) {
        plan.clear();
        plan.step += 1;
        self.row_slots.clear();
        self.single.clear();
        self.chunks.clear();
        self.load = StepLoad::default();

        self.make_way(plan.step);
        let mut budget = self.config.max_num_batched_tokens;
        let preempted = self.schedule_decodes(plan.step, &mut budget);
        self.schedule_prompts(plan, now, &mut budget, !preempted);

        for &slot in &self.admitted {
            self.queues.run(self.sequences[slot].key, slot);
        }
        self.admitted.clear();
        plan.released.append(&mut self.released);
        for &slot in self.single.iter().chain(&self.chunks) {
            push_row(plan, &mut self.sequences[slot]);
            self.row_slots.push(slot);
        }
        plan.limit = self.limit();
    }

    /// What the executor is to keep to, when somebody waits for a token beside chunks of prompts.
    fn limit(&self) -> Option<StepLimit> {
        let bound = self.config.max_step.filter(|_| self.load.decode_rows > 0)?;
        let first = self.sequences[*self.chunks.first()?].scheduled;
        let tokens = self.single.len() + first.min(self.config.block_size);
        Some(StepLimit { time: bound.saturating_sub(bound / OVERHEAD_SHARE), tokens })
    }

    /// One token for each running sequence that lacks one. Returns whether any was preempted.
    fn schedule_decodes(&mut self, step: u64, budget: &mut usize) -> bool {
        let mut preempted = false;
        let mut at = 0;
        while let Some(&slot) = self.queues.running.get(at) {
            let sequence = &mut self.sequences[slot];
            if sequence.remaining() != 1 {
                at += 1;
            } else if *budget == 0 {
                break;
            } else if self.kv.grow(sequence) {
                sequence.scheduled = 1;
                self.load.add_decode(sequence.computed);
                self.single.push(slot);
                *budget -= 1;
                at += 1;
            } else {
                // The last in order gives way. It has no row yet, since rows are given in order.
                self.preempt_last(step);
                preempted = true;
            }
        }
        preempted
    }

    /// Prompt chunks for running and waiting sequences, merged into one order.
    fn schedule_prompts(
        &mut self,
        plan: &mut StepPlan,
        now: Instant,
        budget: &mut usize,
        mut admit: bool,
    ) {
        let mut at = 0;
        while *budget > 0 {
            let next = self.queues.running[at..]
                .iter()
                .position(|&slot| self.sequences[slot].scheduled == 0)
                .map(|skip| at + skip);
            let running = next.map(|at| self.queues.running[at]);
            if admit
                && let Some((key, slot)) = self.queues.first_waiting()
                && running.is_none_or(|running| key < self.sequences[running].key)
            {
                match self.admit(slot, plan, now, budget) {
                    Admitted::Yes => {}
                    Admitted::NoRoom => admit = false,
                    Admitted::NoBudget => break,
                }
                continue;
            }
            let (Some(slot), Some(position)) = (running, next) else { break };
            let sequence = &self.sequences[slot];
            let len = self.chunk(sequence.computed, sequence.remaining(), *budget);
            if len == 0 {
                break;
            }
            self.give(slot, len, budget);
            at = position + 1;
        }
    }

    fn admit(
        &mut self,
        slot: usize,
        plan: &mut StepPlan,
        now: Instant,
        budget: &mut usize,
    ) -> Admitted {
        let running = self.queues.running.len() + self.admitted.len();
        let sequence = &mut self.sequences[slot];
        if running >= self.config.max_num_seqs || sequence.preempted_in == plan.step {
            return Admitted::NoRoom;
        }
        let hit = self.kv.lookup(sequence);
        if !self.kv.fits(sequence) {
            return Admitted::NoRoom;
        }
        let remaining = sequence.tokens.len() - hit.tokens;
        let len = self.chunk(hit.tokens, remaining, *budget);
        if len == 0 {
            return Admitted::NoBudget;
        }
        let sequence = &mut self.sequences[slot];
        self.kv.allocate(sequence, hit, &mut plan.copies);
        if sequence.cached.is_none() {
            sequence.cached = Some(hit.tokens);
            if sequence.reads_cache && sequence.index() == 0 {
                self.prefix_queries += sequence.prompt_len as u64;
                self.prefix_hits += hit.tokens as u64;
            }
        }
        sequence.started.get_or_insert(now);
        sequence.state = SequenceState::Running;
        self.queues.remove_waiting(sequence.key);
        self.admitted.push(slot);
        self.give(slot, len, budget);
        Admitted::Yes
    }

    fn give(&mut self, slot: usize, len: usize, budget: &mut usize) {
        let sequence = &mut self.sequences[slot];
        sequence.scheduled = len;
        self.load.add_prefill(sequence.computed, len);
        *budget -= len;
        if len == 1 { self.single.push(slot) } else { self.chunks.push(slot) }
    }

    fn chunk(&self, start: usize, remaining: usize, budget: usize) -> usize {
        let threshold = self.config.long_prefill_token_threshold.unwrap_or(usize::MAX);
        let want = remaining.min(budget).min(threshold);
        match self.config.max_step {
            None => want,
            Some(bound) => {
                let steps = if self.load.decode_rows > 0 { 1 } else { UNOBSERVED_STEPS };
                self.cost.limit(&self.load, start, want, bound.saturating_mul(steps))
            }
        }
    }

    /// The planned step was carried out in `elapsed`, up to `computed` of its tokens.
    pub(crate) fn step_done(&mut self, plan: &StepPlan, computed: usize, elapsed: Duration) {
        self.kv.unpin();
        for row in &plan.rows {
            let kept = row.len.min(computed.saturating_sub(row.token_offset));
            if kept < row.len {
                self.load.cut_prefill(row.start, row.len, kept);
            }
        }
        if self.config.max_step.is_some() && !self.row_slots.is_empty() {
            self.cost.observe(&self.load, elapsed);
        }
    }

    /// The planned step failed: nothing that is in blocks can be relied on, and the executor may or
    /// may not have taken note of what entered and left.
    pub(crate) fn step_failed(&mut self, plan: &StepPlan) {
        self.kv.unpin();
        self.kv.clear_cache();
        self.released.extend_from_slice(&plan.released);
        for sequence in self.sequences.values_mut() {
            sequence.scheduled = 0;
            sequence.cacheable = false;
        }
    }

    /// Lets a sequence wait for its turn.
    pub(crate) fn enqueue(&mut self, slot: usize) {
        let sequence = &mut self.sequences[slot];
        sequence.state = SequenceState::Waiting;
        self.queues.wait(sequence.key, slot);
    }

    /// Takes a sequence out. `keep` says whether its blocks may stay in the prefix cache.
    pub(crate) fn remove(&mut self, slot: usize, keep: bool) -> Option<Sequence> {
        let mut sequence = self.sequences.remove(slot)?;
        match sequence.state {
            SequenceState::Sleeping => {}
            SequenceState::Waiting => self.queues.remove_waiting(sequence.key),
            SequenceState::Running => self.queues.remove_running(slot),
        }
        if keep {
            self.kv.release(&mut sequence);
        } else {
            self.kv.discard(&mut sequence);
        }
        if sequence.resident {
            self.released.push(sequence.id);
        }
        Some(sequence)
    }

    /// Forgets all cached content. Running sequences keep their blocks, which stay out of the cache
    /// from now on.
    pub(crate) fn reset_prefix_cache(&mut self) -> usize {
        for sequence in self.sequences.values_mut().filter(|sequence| sequence.computed > 0) {
            sequence.cacheable = false;
        }
        self.kv.clear_cache()
    }

    /// Checks queues, blocks and cache.
    pub(crate) fn check(&self) -> Result<(), String> {
        let state_of = |slot: usize| self.sequences[slot].state;
        if self.queues.running.iter().any(|&slot| state_of(slot) != SequenceState::Running)
            || self.queues.waiting().any(|slot| state_of(slot) != SequenceState::Waiting)
            || !self.queues.running.is_sorted_by_key(|&slot| self.sequences[slot].key)
        {
            return Err("a queue disagrees with the states of its sequences".to_owned());
        }
        let awake = self.sequences.iter().filter(|(_, s)| s.state != SequenceState::Sleeping);
        if awake.count() != self.queues.len() {
            return Err("a sequence is in no queue".to_owned());
        }
        for (_, sequence) in self.sequences.iter() {
            if sequence.state != SequenceState::Running && !sequence.blocks.is_empty() {
                return Err(format!("{:?} holds blocks while it waits", sequence.id));
            }
            if sequence.computed >= sequence.tokens.len() {
                return Err(format!("{:?} has nothing left to compute", sequence.id));
            }
        }
        self.kv.check(self.sequences.iter().map(|(_, sequence)| sequence))
    }
}

fn push_row(plan: &mut StepPlan, sequence: &mut Sequence) {
    if !sequence.resident {
        sequence.resident = true;
        plan.admitted.push(Admission {
            id: sequence.id,
            tokens: sequence.tokens.clone(),
            prompt_len: sequence.prompt_len,
            params: sequence.params.clone(),
        });
    }
    let end = sequence.computed + sequence.scheduled;
    let row = ScheduledRow {
        id: sequence.id,
        start: sequence.computed,
        len: sequence.scheduled,
        token_offset: plan.tokens.len(),
        block_offset: plan.new_blocks.len(),
        block_count: sequence.blocks.len() - sequence.planned_blocks,
        sample: end == sequence.tokens.len(),
    };
    plan.tokens.extend_from_slice(&sequence.tokens[row.start..end]);
    plan.new_blocks.extend_from_slice(&sequence.blocks[sequence.planned_blocks..]);
    sequence.planned_blocks = sequence.blocks.len();
    plan.rows.push(row);
}
