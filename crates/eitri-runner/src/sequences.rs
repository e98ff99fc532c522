//! What the runner holds for each sequence: block table, parameters, seen tokens.

use std::{collections::HashMap, sync::Arc};

use eitri_engine::{Admission, BlockId, SamplingParams, ScheduledRow, SequenceId, TokenId};

use crate::sampler::TokenHistory;

/// One sequence. Its memory is used again for later sequences.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    pub(crate) params: Arc<SamplingParams>,
    pub(crate) history: TokenHistory,
    pub(crate) prompt_len: usize,
    /// The prompt, kept only while its log-probabilities are wanted.
    prompt: Vec<TokenId>,
    /// Blocks in the table.
    blocks: usize,
    /// Tokens that are in `history` or belong to the prompt.
    known: usize,
    /// First position that was never computed; `None` before the first row.
    next: Option<usize>,
}

impl Sequence {
    /// Prompt whose log-probabilities are wanted, and how many alternatives of each.
    pub(crate) fn scored_prompt(&self) -> Option<(&[TokenId], u32)> {
        self.params.prompt_logprobs.map(|top| (&*self.prompt, top)).filter(|(p, _)| !p.is_empty())
    }

    /// Whether computing `row` gives log-probabilities of prompt tokens.
    pub(crate) fn scores(&self, row: &ScheduledRow) -> bool {
        self.scored_prompt().is_some_and(|(prompt, _)| row.start + 1 < prompt.len())
    }
}

/// All sequences, each in a slot that owns a fixed stretch of one array of block tables.
pub(crate) struct Sequences {
    slots: Vec<Sequence>,
    of_id: HashMap<SequenceId, usize>,
    free: Vec<usize>,
    tables: Vec<u32>,
    blocks_per_sequence: usize,
    block_size: usize,
    num_blocks: usize,
    max_model_len: usize,
}

/// Sizes that sequences and plans are checked against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_num_seqs: usize,
    pub(crate) max_model_len: usize,
    pub(crate) num_blocks: usize,
    pub(crate) block_size: usize,
}

impl Limits {
    fn blocks_per_sequence(&self) -> usize {
        self.max_model_len.div_ceil(self.block_size)
    }

    /// Bytes of the block tables, for the memory plan.
    pub(crate) fn table_bytes(&self) -> u64 {
        (self.max_num_seqs * self.blocks_per_sequence() * size_of::<u32>()) as u64
    }
}

impl Sequences {
    pub(crate) fn new(limits: &Limits) -> Self {
        let slots = limits.max_num_seqs;
        Self {
            slots: (0..slots).map(|_| Sequence::default()).collect(),
            // Twice the number in use: a map that is half empty never grows to make room for
            // entries that come in place of removed ones.
            of_id: HashMap::with_capacity(2 * slots),
            free: (0..slots).rev().collect(),
            tables: vec![0; slots * limits.blocks_per_sequence()],
            blocks_per_sequence: limits.blocks_per_sequence(),
            block_size: limits.block_size,
            num_blocks: limits.num_blocks,
            max_model_len: limits.max_model_len,
        }
    }

    /// Number of sequences held.
    pub(crate) fn len(&self) -> usize {
        self.of_id.len()
    }

    /// Forgets a sequence; one that is not held is ignored.
    pub(crate) fn release(&mut self, id: SequenceId) {
        if let Some(slot) = self.of_id.remove(&id) {
            self.slots[slot].history.clear();
            self.free.push(slot);
        }
    }

    /// Takes a sequence in.
    pub(crate) fn admit(&mut self, admission: &Admission) -> Result<(), String> {
        let Admission { id, tokens, prompt_len, params } = admission;
        if *prompt_len == 0 || *prompt_len > tokens.len() || tokens.len() > self.max_model_len {
            return Err(format!(
                "sequence {} has {prompt_len} prompt tokens of {}; at least 1, and at most {} in all",
                id.0,
                tokens.len(),
                self.max_model_len
            ));
        }
        if params.seed.is_none() && !params.is_greedy() {
            return Err(format!("sequence {} samples but has no seed", id.0));
        }
        if self.of_id.contains_key(id) {
            return Err(format!("sequence {} is admitted twice", id.0));
        }
        let Some(slot) = self.free.pop() else {
            return Err(format!(
                "sequence {} exceeds max_num_seqs, which is {}",
                id.0,
                self.slots.len()
            ));
        };
        self.of_id.insert(*id, slot);
        let sequence = &mut self.slots[slot];
        sequence.params = Arc::clone(params);
        sequence.prompt_len = *prompt_len;
        sequence.blocks = 0;
        sequence.known = tokens.len();
        sequence.next = None;
        sequence.prompt.clear();
        let (prompt, output) = tokens.split_at(*prompt_len);
        // After a preemption with output the prompt's values are out already.
        if params.prompt_logprobs.is_some() && output.is_empty() {
            sequence.prompt.extend_from_slice(prompt);
        }
        if TokenHistory::is_needed(params) {
            let room = (params.max_tokens as usize).min(self.max_model_len - prompt_len);
            sequence.history.reset(prompt, output, room.saturating_sub(output.len()));
        }
        Ok(())
    }

    /// Appends the row's blocks to its table and takes note of generated tokens; returns the slot.
    pub(crate) fn extend(
        &mut self,
        row: &ScheduledRow,
        tokens: &[TokenId],
        blocks: &[BlockId],
    ) -> Result<usize, String> {
        let id = row.id.0;
        let slot = self.slot(row.id)?;
        let sequence = &mut self.slots[slot];
        let (start, end) = (row.start, row.start.saturating_add(row.len));
        if sequence.next.is_some_and(|next| next != start) {
            return Err(format!(
                "sequence {id} goes on at position {start}, expected {}",
                sequence.next.unwrap_or_default()
            ));
        }
        let total = sequence.blocks + blocks.len();
        let held = total * self.block_size;
        if end > held || end > self.max_model_len || total > self.blocks_per_sequence {
            return Err(format!(
                "sequence {id} computes up to position {end} with {total} blocks; {held} tokens fit \
                 and max_model_len is {}",
                self.max_model_len
            ));
        }
        let table = slot * self.blocks_per_sequence + sequence.blocks;
        for (entry, block) in self.tables[table..].iter_mut().zip(blocks) {
            if block.0 as usize >= self.num_blocks {
                return Err(format!(
                    "sequence {id} uses block {}, there are {}",
                    block.0, self.num_blocks
                ));
            }
            *entry = block.0;
        }
        sequence.blocks = total;
        sequence.next = Some(end);
        let fresh = sequence.known.max(start)..end;
        if !fresh.is_empty() && TokenHistory::is_needed(&sequence.params) {
            for &token in &tokens[fresh.start - start..] {
                sequence.history.record(token);
            }
        }
        sequence.known = sequence.known.max(end);
        Ok(slot)
    }

    /// Only the first `kept` tokens of `row`, which was the sequence's last, were computed.
    pub(crate) fn cut(&mut self, slot: usize, row: &ScheduledRow, kept: usize) {
        self.slots[slot].next = Some(row.start + kept);
    }

    fn slot(&self, id: SequenceId) -> Result<usize, String> {
        self.of_id.get(&id).copied().ok_or_else(|| format!("sequence {} is not held", id.0))
    }

    pub(crate) fn at(&self, slot: usize) -> &Sequence {
        &self.slots[slot]
    }

    /// The block tables of all slots.
    pub(crate) fn tables(&self) -> &[u32] {
        &self.tables
    }

    /// Where the slot's block table starts in [`Self::tables`].
    pub(crate) fn table_offset(&self, slot: usize) -> usize {
        slot * self.blocks_per_sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { max_num_seqs: 2, max_model_len: 100, num_blocks: 10, block_size: 16 };

    fn admission(id: u64, tokens: usize, prompt_len: usize) -> Admission {
        Admission {
            id: SequenceId(id),
            tokens: (0..tokens as u32).collect(),
            prompt_len,
            params: Arc::new(SamplingParams { seed: Some(1), ..SamplingParams::default() }),
        }
    }

    fn row(id: u64, start: usize, len: usize) -> ScheduledRow {
        ScheduledRow {
            id: SequenceId(id),
            start,
            len,
            token_offset: 0,
            block_offset: 0,
            block_count: 0,
            sample: true,
        }
    }

    #[test]
    fn slots_and_tables_are_used_again() {
        let mut sequences = Sequences::new(&LIMITS);
        for round in 0..100 {
            let (a, b) = (2 * round, 2 * round + 1);
            sequences.admit(&admission(a, 20, 20)).unwrap();
            sequences.admit(&admission(b, 5, 5)).unwrap();
            let slot =
                sequences.extend(&row(a, 0, 20), &[0; 20], &[BlockId(3), BlockId(9)]).unwrap();
            assert_eq!(sequences.extend(&row(a, 20, 1), &[7], &[]), Ok(slot));
            let table = sequences.table_offset(slot);
            assert_eq!(sequences.tables()[table..table + 2], [3, 9]);
            assert_eq!(sequences.len(), 2);
            sequences.release(SequenceId(a));
            sequences.release(SequenceId(a));
            sequences.release(SequenceId(b));
            assert_eq!(sequences.len(), 0);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        let mut sequences = Sequences::new(&LIMITS);
        sequences.admit(&admission(1, 20, 20)).unwrap();
        let twice = sequences.admit(&admission(1, 20, 20)).unwrap_err();
        assert_eq!(twice, "sequence 1 is admitted twice");
        assert!(sequences.admit(&admission(2, 20, 0)).unwrap_err().contains("at least 1"));
        assert!(sequences.admit(&admission(2, 101, 5)).unwrap_err().contains("at most 100"));
        sequences.admit(&admission(2, 2, 1)).unwrap();
        let full = sequences.admit(&admission(3, 2, 1)).unwrap_err();
        assert_eq!(full, "sequence 3 exceeds max_num_seqs, which is 2");
        let short = sequences.extend(&row(1, 0, 20), &[0; 20], &[BlockId(0)]).unwrap_err();
        assert!(short.contains("with 1 blocks; 16 tokens fit"), "{short}");
        let outside =
            sequences.extend(&row(1, 0, 20), &[0; 20], &[BlockId(0), BlockId(10)]).unwrap_err();
        assert_eq!(outside, "sequence 1 uses block 10, there are 10");
        assert_eq!(
            sequences.extend(&row(9, 0, 1), &[0], &[]).unwrap_err(),
            "sequence 9 is not held"
        );
        sequences.extend(&row(2, 0, 2), &[0; 2], &[BlockId(5)]).unwrap();
        let gap = sequences.extend(&row(2, 5, 1), &[0], &[]).unwrap_err();
        assert_eq!(gap, "sequence 2 goes on at position 5, expected 2");
    }
}
