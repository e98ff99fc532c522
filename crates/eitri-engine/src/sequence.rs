//! One continuation of a request on its way through the engine.

use std::{
    ops::{Index, IndexMut},
    sync::Arc,
    time::Instant,
};

use crate::{
    BlockId, GeneratedToken, RequestTiming, SamplingParams, SequenceId, TokenId, TokenUsage,
    prefix::ChainHash,
};

/// Order of service: better classes first, then by arrival, then by index among the continuations
/// of one request. Keys are unique, so that every choice between sequences has one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    pub(crate) class: i32,
    pub(crate) arrival: u64,
    pub(crate) index: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceState {
    /// Waits until the first continuation of its request has computed the prompt.
    Sleeping,
    /// Waits for blocks and a place among the running.
    Waiting,
    /// Holds blocks for all its tokens.
    Running,
}

#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    /// Slot of its request.
    pub(crate) request: usize,
    pub(crate) key: QueueKey,
    pub(crate) state: SequenceState,
    pub(crate) params: Arc<SamplingParams>,
    /// Prompt, then generated tokens.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) prompt_len: usize,
    /// The sequence ends when it has this many tokens.
    pub(crate) max_len: usize,
    /// Leading tokens whose keys and values are in its blocks.
    pub(crate) computed: usize,
    /// Tokens that the step in flight computes.
    pub(crate) scheduled: usize,
    pub(crate) blocks: Vec<BlockId>,
    /// How many of `blocks` the executor knows.
    pub(crate) planned_blocks: usize,
    /// Whether the executor knows the sequence.
    pub(crate) resident: bool,
    /// Step in which it was last preempted, 0 for never.
    pub(crate) preempted_in: u64,
    pub(crate) root: ChainHash,
    /// Hashes of its full blocks as far as they were needed.
    pub(crate) chain: Vec<ChainHash>,
    /// How many of its full blocks were offered to the prefix cache.
    pub(crate) offered: usize,
    /// Whether its blocks may enter the prefix cache.
    pub(crate) cacheable: bool,
    /// Whether it may start from cached blocks.
    pub(crate) reads_cache: bool,
    /// Prompt tokens found in the cache when it first started.
    pub(crate) cached: Option<usize>,
    pub(crate) unsent: Vec<GeneratedToken>,
    pub(crate) prompt_event_sent: bool,
    pub(crate) submitted: Instant,
    pub(crate) started: Option<Instant>,
    pub(crate) first_token: Option<Instant>,
    pub(crate) last_token: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) first_token_due: Option<Instant>,
}

impl Sequence {
    pub(crate) fn index(&self) -> u32 {
        self.key.index
    }

    pub(crate) fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    pub(crate) fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    pub(crate) fn prompt_computed(&self) -> bool {
        self.computed >= self.prompt_len
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.deadline.is_some() || self.first_token_due.is_some()
    }

    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let first_token_late =
            self.first_token.is_none() && self.first_token_due.is_some_and(|due| now >= due);
        first_token_late || self.deadline.is_some_and(|due| now >= due)
    }

    pub(crate) fn usage(&self) -> TokenUsage {
        TokenUsage {
            prompt: self.prompt_len,
            cached: self.cached.unwrap_or(0),
            generated: self.generated(),
        }
    }

    /// `now` closes the phase that the sequence is in.
    pub(crate) fn timing(&self, now: Instant) -> RequestTiming {
        let started = self.started.unwrap_or(now);
        let first = self.first_token.unwrap_or(now);
        let last = self.last_token.unwrap_or(first);
        RequestTiming {
            queued: started.saturating_duration_since(self.submitted),
            prefill: first.saturating_duration_since(started),
            decode: last.saturating_duration_since(first),
        }
    }
}

/// Values under stable slots; slots are reused.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    values: Vec<Option<T>>,
    vacant: Vec<usize>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { values: Vec::new(), vacant: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> usize {
        if let Some(slot) = self.vacant.pop() {
            self.values[slot] = Some(value);
            slot
        } else {
            self.values.push(Some(value));
            self.values.len() - 1
        }
    }

    pub(crate) fn remove(&mut self, slot: usize) -> Option<T> {
        let value = self.values.get_mut(slot)?.take()?;
        self.vacant.push(slot);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() - self.vacant.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.values.iter().enumerate().filter_map(|(slot, value)| Some((slot, value.as_ref()?)))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().flatten()
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, slot: usize) -> &T {
        match &self.values[slot] {
            Some(value) => value,
            None => unreachable!("slot {slot} is vacant"),
        }
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, slot: usize) -> &mut T {
        match &mut self.values[slot] {
            Some(value) => value,
            None => unreachable!("slot {slot} is vacant"),
        }
    }
}
