//! The two queues, each in order of service.

use std::collections::BTreeMap;

use crate::{EngineConfig, SchedulingPolicy, sequence::QueueKey};

#[derive(Debug)]
pub(crate) struct Queues {
    /// Slots of running sequences, best key first.
    pub(crate) running: Vec<usize>,
    /// Their keys.
    running_keys: Vec<QueueKey>,
    waiting: BTreeMap<QueueKey, usize>,
}

impl Queues {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self {
            running: Vec::with_capacity(rows),
            running_keys: Vec::with_capacity(rows),
            waiting: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn first_waiting(&self) -> Option<(QueueKey, usize)> {
        self.waiting.first_key_value().map(|(&key, &slot)| (key, slot))
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = usize> {
        self.waiting.values().copied()
    }

    pub(crate) fn wait(&mut self, key: QueueKey, slot: usize) {
        self.waiting.insert(key, slot);
    }

    pub(crate) fn remove_waiting(&mut self, key: QueueKey) {
        self.waiting.remove(&key);
    }

    pub(crate) fn run(&mut self, key: QueueKey, slot: usize) {
        let at = self.running_keys.partition_point(|&other| other < key);
        self.running.insert(at, slot);
        self.running_keys.insert(at, key);
    }

    pub(crate) fn remove_running(&mut self, slot: usize) {
        if let Some(at) = self.running.iter().position(|&other| other == slot) {
            self.running.remove(at);
            self.running_keys.remove(at);
        }
    }

    pub(crate) fn pop_running(&mut self) -> Option<usize> {
        self.running_keys.pop();
        self.running.pop()
    }
}

/// The class that a request's priority puts it into.
pub(crate) fn class(config: &EngineConfig, priority: i32) -> i32 {
    match config.policy {
        SchedulingPolicy::Fcfs => 0,
        SchedulingPolicy::Priority => priority,
    }
}
