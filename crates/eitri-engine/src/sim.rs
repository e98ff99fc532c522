//! An executor without a model that checks every plan as a strict device would.
//!
//! Its KV memory holds, for each slot, a hash of all tokens up to and including the one whose keys
//! and values the slot would hold. Before a row is computed, every slot that it would read through
//! its block table is compared with what it must contain. A wrongly shared block, a missing copy, a
//! block reused too early or a write into a shared block therefore ends in an error.

use std::{collections::HashMap, sync::Arc};

use crate::{
    Admission, BlockCopy, BlockId, Executor, ExecutorError, PromptLogprobs, RowFailure, Sampled,
    SamplingParams, ScheduledRow, SequenceId, StepOutput, StepPlan, TokenId, TokenLogprobs,
};

/// Runs before a step; may wait, fail or panic in the executor's place.
type StepHook = Box<dyn FnMut(&StepPlan) -> Result<(), String> + Send>;
/// Says for a step with a limit how many tokens are computed.
type CutHook = Box<dyn FnMut(&StepPlan) -> usize + Send>;
/// Says for a row whether and how it fails alone.
type RowHook = Box<dyn FnMut(&ScheduledRow) -> Option<String> + Send>;

#[derive(Debug)]
struct SimSequence {
    tokens: Vec<TokenId>,
    /// Hash of all tokens up to and including each position.
    hashes: Vec<u64>,
    prompt_len: usize,
    params: Arc<SamplingParams>,
    blocks: Vec<BlockId>,
    /// Where the next row must start; unknown until the first.
    next: Option<usize>,
}

/// A deterministic stand-in for a model: the next token is a function of all tokens before it and of
/// the seed, and of the tokens alone when sampling is greedy.
pub struct SimExecutor {
    vocab_size: u32,
    block_size: usize,
    memory: Vec<u64>,
    /// How many block tables contain each block.
    holders: Vec<u32>,
    sequences: HashMap<SequenceId, SimSequence>,
    on_step: Option<StepHook>,
    on_row: Option<RowHook>,
    on_limit: Option<CutHook>,
    /// After a failed step, releases may name sequences that are not held.
    lenient: bool,
    last_step: u64,
    output: StepOutput,
}

fn extend(hash: u64, token: TokenId) -> u64 {
    // Finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    let mut z = (hash ^ u64::from(token)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) | 1
}

fn next_token(hash: u64, params: &SamplingParams, generated: usize, vocab_size: u32) -> TokenId {
    let seed = if params.is_greedy() { 0 } else { params.seed.unwrap_or(0) };
    let mixed = extend(hash ^ seed.rotate_left(32), 0x5eed);
    let first = ((mixed >> 16) % u64::from(vocab_size)) as u32;
    let barred = |token: &TokenId| {
        generated < params.min_tokens as usize
            && ((!params.ignore_eos && params.eos_token_ids.contains(token))
                || params.stop_token_ids.contains(token))
    };
    let candidates = (0..vocab_size).map(|offset| (first + offset) % vocab_size);
    candidates.into_iter().find(|token| !barred(token)).unwrap_or(first)
}

fn logprobs(hash: u64, token: TokenId, top: u32, vocab_size: u32) -> TokenLogprobs {
    let value = -((extend(hash, token) >> 40) as f32) / 16_777_216.0;
    let top = (0..top).map(|rank| (((hash >> 8) as u32).wrapping_add(rank) % vocab_size, value));
    TokenLogprobs { logprob: value, rank: 1, top: top.collect() }
}

impl SimExecutor {
    /// A device with `num_blocks` blocks of `block_size` tokens and tokens below `vocab_size`.
    pub fn new(vocab_size: u32, num_blocks: usize, block_size: usize) -> Self {
        Self {
            vocab_size: vocab_size.max(1),
            block_size,
            memory: vec![0; num_blocks * block_size],
            holders: vec![0; num_blocks],
            sequences: HashMap::new(),
            on_step: None,
            on_row: None,
            on_limit: None,
            lenient: false,
            last_step: 0,
            output: StepOutput::default(),
        }
    }

    /// Calls `hook` before each step. It may take the time that the step should cost, fail the step
    /// with a message, or panic.
    #[must_use]
    pub fn on_step(
        mut self,
        hook: impl FnMut(&StepPlan) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.on_step = Some(Box::new(hook));
        self
    }

    /// Calls `hook` for each row; a message makes that row fail alone.
    #[must_use]
    pub fn on_row(
        mut self,
        hook: impl FnMut(&ScheduledRow) -> Option<String> + Send + 'static,
    ) -> Self {
        self.on_row = Some(Box::new(hook));
        self
    }

    /// Calls `hook` for each step with a [`crate::StepLimit`]; it says how many tokens there was time
    /// for, and the limit's own number are computed in any case.
    #[must_use]
    pub fn on_limit(mut self, hook: impl FnMut(&StepPlan) -> usize + Send + 'static) -> Self {
        self.on_limit = Some(Box::new(hook));
        self
    }

    /// The `len` tokens that follow `prompt` with these parameters, end tokens not heeded.
    pub fn continuation(
        prompt: &[TokenId],
        params: &SamplingParams,
        vocab_size: u32,
        len: usize,
    ) -> Vec<TokenId> {
        let mut hash = prompt.iter().fold(0, |hash, &token| extend(hash, token));
        let mut tokens = Vec::with_capacity(len);
        for generated in 0..len {
            let token = next_token(hash, params, generated, vocab_size);
            hash = extend(hash, token);
            tokens.push(token);
        }
        tokens
    }

    fn run(&mut self, plan: &StepPlan) -> Result<(), String> {
        if plan.step <= self.last_step {
            return Err(format!("step {} after step {}", plan.step, self.last_step));
        }
        self.last_step = plan.step;
        for &id in &plan.released {
            self.release(id)?;
        }
        for admission in &plan.admitted {
            self.admit(admission)?;
        }
        self.copy(&plan.copies)?;
        check_layout(plan)?;
        for row in &plan.rows {
            self.append_blocks(row, plan)?;
        }
        if let (Some(hook), Some(limit)) = (&mut self.on_limit, plan.limit) {
            let tokens = hook(plan).max(limit.tokens);
            self.output.computed = Some(tokens).filter(|&tokens| tokens < plan.tokens.len());
        }
        let computed = self.output.computed.unwrap_or(usize::MAX);
        for row in &plan.rows {
            self.compute(row, plan, computed)?;
        }
        if let Some(admission) = plan.admitted.iter().find(|a| self.sequences[&a.id].next.is_none())
        {
            return Err(format!("{:?} admitted without a row", admission.id));
        }
        self.lenient = false;
        Ok(())
    }

    fn release(&mut self, id: SequenceId) -> Result<(), String> {
        match self.sequences.remove(&id) {
            Some(sequence) => {
                for block in sequence.blocks {
                    self.holders[block.0 as usize] -= 1;
                }
                Ok(())
            }
            None if self.lenient => Ok(()),
            None => Err(format!("{id:?} released but not held")),
        }
    }

    fn admit(&mut self, admission: &Admission) -> Result<(), String> {
        let Admission { id, tokens, prompt_len, params } = admission;
        if *prompt_len == 0 || *prompt_len > tokens.len() || params.seed.is_none() {
            return Err(format!("{id:?} admitted with {prompt_len} prompt tokens, {params:?}"));
        }
        let hashes = tokens.iter().scan(0, |hash, &token| {
            *hash = extend(*hash, token);
            Some(*hash)
        });
        let sequence = SimSequence {
            hashes: hashes.collect(),
            tokens: tokens.clone(),
            prompt_len: *prompt_len,
            params: Arc::clone(params),
            blocks: Vec::new(),
            next: None,
        };
        match self.sequences.insert(*id, sequence) {
            None => Ok(()),
            Some(_) => Err(format!("{id:?} admitted twice")),
        }
    }

    fn copy(&mut self, copies: &[BlockCopy]) -> Result<(), String> {
        for copy in copies {
            let (from, to) = (copy.from.0 as usize, copy.to.0 as usize);
            let in_range = from < self.holders.len() && to < self.holders.len();
            if !in_range || copy.tokens == 0 || copy.tokens > self.block_size {
                return Err(format!("{copy:?} is out of range"));
            }
            // Copies may run in any order or all at once.
            let disturbed = copies.iter().any(|other| other.to == copy.from);
            if disturbed || copies.iter().filter(|other| other.to == copy.to).count() > 1 {
                return Err(format!("{copy:?} depends on the order of copies"));
            }
            if self.holders[to] > 0 {
                return Err(format!("{copy:?} writes into a block in use"));
            }
            let start = from * self.block_size;
            self.memory.copy_within(start..start + copy.tokens, to * self.block_size);
        }
        Ok(())
    }

    fn append_blocks(&mut self, row: &ScheduledRow, plan: &StepPlan) -> Result<(), String> {
        let Some(sequence) = self.sequences.get_mut(&row.id) else {
            return Err(format!("{row:?} of a sequence that is not held"));
        };
        for &block in plan.row_blocks(row) {
            let Some(holders) = self.holders.get_mut(block.0 as usize) else {
                return Err(format!("{block:?} is out of range"));
            };
            if sequence.blocks.contains(&block) {
                return Err(format!("{block:?} twice in the table of {:?}", row.id));
            }
            *holders += 1;
            sequence.blocks.push(block);
        }
        Ok(())
    }

    fn compute(
        &mut self,
        row: &ScheduledRow,
        plan: &StepPlan,
        computed: usize,
    ) -> Result<(), String> {
        let Some(sequence) = self.sequences.get_mut(&row.id) else {
            return Err(format!("{row:?} of a sequence that is not held"));
        };
        let end = row.start + row.len;
        if sequence.next.is_some_and(|next| next != row.start)
            || end > sequence.tokens.len()
            || row.sample != (end == sequence.tokens.len())
            || plan.row_tokens(row) != &sequence.tokens[row.start..end]
            || sequence.blocks.len() * self.block_size < end
        {
            return Err(format!("{row:?} does not fit {sequence:?}"));
        }
        let kept = row.len.min(computed.saturating_sub(row.token_offset));
        let end = row.start + kept;
        sequence.next = Some(end);
        for position in 0..if kept > 0 { end } else { 0 } {
            let block = sequence.blocks[position / self.block_size].0 as usize;
            let slot = block * self.block_size + position % self.block_size;
            if position >= row.start {
                if self.holders[block] != 1 {
                    return Err(format!("{row:?} writes into block {block}, which others hold"));
                }
                self.memory[slot] = sequence.hashes[position];
            } else if self.memory[slot] != sequence.hashes[position] {
                return Err(format!("{row:?} reads wrong content at {position} (block {block})"));
            }
        }
        if let Some(message) = self.on_row.as_mut().and_then(|hook| hook(row)) {
            // What a failed row has written is not to be trusted.
            let slots = (row.start..end).map(|position| {
                let block = sequence.blocks[position / self.block_size].0 as usize;
                block * self.block_size + position % self.block_size
            });
            slots.for_each(|slot| self.memory[slot] = 0);
            self.output.failed.push(RowFailure { id: row.id, message });
            return Ok(());
        }
        self.answer(&ScheduledRow { len: kept, sample: row.sample && kept == row.len, ..*row });
        Ok(())
    }

    fn answer(&mut self, row: &ScheduledRow) {
        let vocab_size = self.vocab_size;
        let Some(sequence) = self.sequences.get_mut(&row.id) else { return };
        let end = row.start + row.len;
        if let Some(top) = sequence.params.prompt_logprobs {
            for position in row.start + 1..(end + 1).min(sequence.prompt_len) {
                let (hash, token) = (sequence.hashes[position - 1], sequence.tokens[position]);
                let logprobs = logprobs(hash, token, top, vocab_size);
                self.output.prompt_logprobs.push(PromptLogprobs { id: row.id, position, logprobs });
            }
        }
        if row.sample {
            let hash = sequence.hashes[end - 1];
            let generated = sequence.tokens.len() - sequence.prompt_len;
            let token = next_token(hash, &sequence.params, generated, vocab_size);
            let wanted = sequence.params.logprobs;
            let logprobs = wanted.map(|top| logprobs(hash, token, top, vocab_size));
            sequence.tokens.push(token);
            sequence.hashes.push(extend(hash, token));
            self.output.sampled.push(Sampled { id: row.id, token, logprobs });
        }
    }
}

/// Checks what does not depend on the state of the device.
fn check_layout(plan: &StepPlan) -> Result<(), String> {
    let (mut tokens, mut blocks) = (0, 0);
    for (at, row) in plan.rows.iter().enumerate() {
        if row.len == 0 || row.token_offset != tokens || row.block_offset != blocks {
            return Err(format!("{row:?} does not follow the row before it"));
        }
        if at > 0 && plan.rows[at - 1].len > 1 && row.len == 1 {
            return Err(format!("{row:?} decodes after a row that does not"));
        }
        if plan.rows[..at].iter().any(|other| other.id == row.id) {
            return Err(format!("{:?} has two rows", row.id));
        }
        tokens += row.len;
        blocks += row.block_count;
    }
    if tokens != plan.tokens.len() || blocks != plan.new_blocks.len() {
        return Err("tokens or blocks without a row".to_owned());
    }
    Ok(())
}

impl Executor for SimExecutor {
    fn submit(&mut self, plan: &StepPlan) -> Result<(), ExecutorError> {
        self.output.clear();
        self.output.step = plan.step;
        let hooked = self.on_step.as_mut().map_or(Ok(()), |hook| hook(plan));
        hooked.and_then(|()| self.run(plan)).map_err(|message| {
            self.lenient = true;
            ExecutorError { step: plan.step, message }
        })
    }

    fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecutorError> {
        std::mem::swap(output, &mut self.output);
        Ok(())
    }
}
