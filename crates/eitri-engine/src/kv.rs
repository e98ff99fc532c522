//! Blocks of sequences: given, shared, grown, taken back.
//!
//! Invariants: a slot is written only by a sequence that alone holds its block; a block enters the
//! prefix cache only after the executor has computed it; blocks that a copy reads stay untouched
//! until the step is over.

use crate::{
    BlockCopy, BlockId, TokenId,
    block_pool::BlockPool,
    prefix::{ChainHash, PrefixCache, chain},
    sequence::Sequence,
};

/// What the prefix cache has for a sequence; the full blocks are in [`Kv::hit_blocks`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hit {
    full: usize,
    /// Block with the tokens after the full blocks, and how many of them.
    partial: Option<(BlockId, usize)>,
    /// Leading tokens found.
    pub(crate) tokens: usize,
}

#[derive(Debug)]
pub(crate) struct Kv {
    pool: BlockPool,
    prefix: PrefixCache,
    block_size: usize,
    /// Free blocks whose content can be hit.
    cached_free: usize,
    /// Sources of this step's copies.
    pinned: Vec<BlockId>,
    hit_blocks: Vec<BlockId>,
    bytes: Vec<u8>,
    /// Holders that are about to leave, per block; zero outside of [`Kv::would_fit_without`].
    leaving: Vec<u32>,
}

/// Ids of block `index`, cut at `end`.
fn block_ids(tokens: &[TokenId], index: usize, block_size: usize, end: usize) -> &[TokenId] {
    let start = index * block_size;
    &tokens[start..end.min(start + block_size)]
}

impl Kv {
    pub(crate) fn new(num_blocks: usize, block_size: usize) -> Self {
        Self {
            pool: BlockPool::new(num_blocks),
            prefix: PrefixCache::new(num_blocks, block_size),
            block_size,
            cached_free: 0,
            pinned: Vec::new(),
            hit_blocks: Vec::new(),
            bytes: Vec::with_capacity(16 + 4 * block_size),
            leaving: vec![0; num_blocks],
        }
    }

    pub(crate) fn free(&self) -> usize {
        self.pool.free_count()
    }

    /// Free blocks whose content can be hit.
    pub(crate) fn cached(&self) -> usize {
        self.cached_free
    }

    fn hash_until(&mut self, sequence: &mut Sequence, blocks: usize) {
        while sequence.chain.len() < blocks {
            let index = sequence.chain.len();
            let parent = parent_of(sequence, index);
            let ids = block_ids(&sequence.tokens, index, self.block_size, usize::MAX);
            sequence.chain.push(chain(parent, ids, &mut self.bytes));
        }
    }

    /// Finds the longest cached prefix, up to the last token but one: the last must be computed to
    /// get logits.
    pub(crate) fn lookup(&mut self, sequence: &mut Sequence) -> Hit {
        self.hit_blocks.clear();
        if !sequence.reads_cache {
            return Hit::default();
        }
        let limit = sequence.tokens.len() - 1;
        let mut full = 0;
        while (full + 1) * self.block_size <= limit {
            self.hash_until(sequence, full + 1);
            let parent = parent_of(sequence, full);
            let ids = block_ids(&sequence.tokens, full, self.block_size, limit);
            match self.prefix.find_full(parent, sequence.chain[full], ids) {
                Some(block) => self.hit_blocks.push(block),
                None => break,
            }
            full += 1;
        }
        let parent = parent_of(sequence, full);
        let ids = block_ids(&sequence.tokens, full, self.block_size, limit);
        let partial = self.prefix.find_partial(parent, ids);
        let tokens = full * self.block_size + partial.map_or(0, |(_, shared)| shared);
        Hit { full, partial, tokens }
    }

    /// Blocks that must come from the free list, those of the hit that lie there included.
    fn demand(&self, sequence: &Sequence) -> usize {
        let total = sequence.tokens.len().div_ceil(self.block_size);
        let held = self.hit_blocks.iter().filter(|&&block| self.pool.ref_count(block) > 0).count();
        total - held
    }

    /// Whether all known tokens of the sequence just looked up fit into free blocks.
    pub(crate) fn fits(&self, sequence: &Sequence) -> bool {
        self.demand(sequence) <= self.pool.free_count()
    }

    /// Whether the sequence just looked up would fit if `others` gave their blocks back.
    pub(crate) fn would_fit_without<'a>(
        &mut self,
        sequence: &Sequence,
        others: impl Iterator<Item = &'a Sequence> + Clone,
    ) -> bool {
        let mut gained = 0;
        for &block in others.clone().flat_map(|other| &other.blocks) {
            let leaving = &mut self.leaving[block.0 as usize];
            *leaving += 1;
            let freed = *leaving == self.pool.ref_count(block);
            if freed && !self.hit_blocks.contains(&block) {
                gained += 1;
            }
        }
        for block in others.flat_map(|other| &other.blocks) {
            self.leaving[block.0 as usize] = 0;
        }
        self.demand(sequence) <= self.pool.free_count() + gained
    }

    /// Gives the sequence just looked up blocks for all its tokens. Only after [`Kv::fits`].
    pub(crate) fn allocate(
        &mut self,
        sequence: &mut Sequence,
        hit: Hit,
        copies: &mut Vec<BlockCopy>,
    ) {
        debug_assert!(sequence.blocks.is_empty());
        let total = sequence.tokens.len().div_ceil(self.block_size);
        for index in 0..hit.full {
            let block = self.hit_blocks[index];
            self.hold(block);
            sequence.blocks.push(block);
        }
        if let Some((source, shared)) = hit.partial {
            let spare = self.pool.free_count() > total - hit.full;
            if spare || self.pool.ref_count(source) > 0 {
                self.hold(source);
                self.pinned.push(source);
                let copy =
                    self.take_block().map(|to| BlockCopy { from: source, to, tokens: shared });
                copies.extend(copy);
                sequence.blocks.extend(copy.map(|copy| copy.to));
            } else {
                // No block is left to copy to. Nobody holds the source: write on in place.
                self.hold(source);
                self.prefix.remove(source);
                sequence.blocks.push(source);
            }
        }
        while sequence.blocks.len() < total {
            let Some(block) = self.take_block() else { break };
            sequence.blocks.push(block);
        }
        debug_assert_eq!(sequence.blocks.len(), total);
        sequence.computed = hit.tokens;
        sequence.offered = hit.full;
        sequence.planned_blocks = 0;
    }

    fn take_block(&mut self) -> Option<BlockId> {
        let block = self.pool.pop()?;
        if self.prefix.contains(block) {
            self.cached_free -= 1;
            self.prefix.remove(block);
        }
        Some(block)
    }

    fn hold(&mut self, block: BlockId) {
        if self.pool.ref_count(block) == 0 && self.prefix.contains(block) {
            self.cached_free -= 1;
        }
        self.pool.acquire(block);
    }

    fn let_go(&mut self, block: BlockId) {
        let cached = self.prefix.contains(block);
        if self.pool.release(block, cached) && cached {
            self.cached_free += 1;
        }
    }

    /// Makes room for all known tokens. False when no block is free.
    pub(crate) fn grow(&mut self, sequence: &mut Sequence) -> bool {
        while sequence.blocks.len() * self.block_size < sequence.tokens.len() {
            let Some(block) = self.take_block() else { return false };
            sequence.blocks.push(block);
        }
        true
    }

    /// Makes the blocks that are full and computed known to the prefix cache.
    pub(crate) fn offer_full(&mut self, sequence: &mut Sequence) {
        let full = sequence.computed / self.block_size;
        while sequence.cacheable && sequence.offered < full {
            let index = sequence.offered;
            self.hash_until(sequence, index + 1);
            let ids = block_ids(&sequence.tokens, index, self.block_size, usize::MAX);
            let (parent, hash) = (parent_of(sequence, index), sequence.chain[index]);
            let block = sequence.blocks[index];
            sequence.cacheable = self.prefix.insert_full(block, parent, hash, ids);
            sequence.offered += 1;
        }
    }

    /// Makes the computed part of the last, partially filled block known.
    pub(crate) fn offer_tail(&mut self, sequence: &mut Sequence) {
        self.offer_full(sequence);
        let full = sequence.computed / self.block_size;
        if sequence.cacheable && sequence.computed > full * self.block_size {
            self.hash_until(sequence, full);
            let ids = block_ids(&sequence.tokens, full, self.block_size, sequence.computed);
            self.prefix.insert_partial(sequence.blocks[full], parent_of(sequence, full), ids);
        }
    }

    /// Takes all blocks back; what was computed stays in the cache. The end of the chain goes to
    /// the free list first, so that it is evicted first.
    pub(crate) fn release(&mut self, sequence: &mut Sequence) {
        self.offer_tail(sequence);
        self.give_back(sequence);
    }

    /// Takes all blocks back and forgets their content.
    pub(crate) fn discard(&mut self, sequence: &mut Sequence) {
        for &block in &sequence.blocks {
            self.prefix.remove(block);
        }
        self.give_back(sequence);
    }

    fn give_back(&mut self, sequence: &mut Sequence) {
        while let Some(block) = sequence.blocks.pop() {
            self.let_go(block);
        }
        sequence.computed = 0;
        sequence.offered = 0;
        sequence.planned_blocks = 0;
    }

    /// The step is over: what its copies read may change again.
    pub(crate) fn unpin(&mut self) {
        while let Some(block) = self.pinned.pop() {
            self.let_go(block);
        }
    }

    /// Forgets all cached content and returns the number of blocks that had some.
    pub(crate) fn clear_cache(&mut self) -> usize {
        self.cached_free = 0;
        self.prefix.clear()
    }

    /// Checks pool and cache against the sequences that hold blocks.
    pub(crate) fn check<'a>(
        &self,
        sequences: impl Iterator<Item = &'a Sequence>,
    ) -> Result<(), String> {
        let mut holders = vec![0; self.pool.len()];
        for block in &self.pinned {
            holders[block.0 as usize] += 1;
        }
        for sequence in sequences {
            for (index, block) in sequence.blocks.iter().enumerate() {
                if sequence.blocks[..index].contains(block) {
                    return Err(format!("{block:?} twice in {:?}", sequence.id));
                }
                holders[block.0 as usize] += 1;
            }
        }
        if self.leaving.iter().any(|&count| count > 0) {
            return Err("counts of leaving holders were not reset".to_owned());
        }
        let cached = (0..holders.len())
            .filter(|&block| holders[block] == 0 && self.prefix.contains(BlockId(block as u32)));
        if cached.count() != self.cached_free {
            return Err(format!("{} free blocks counted as cached", self.cached_free));
        }
        self.pool.check(&holders)?;
        self.prefix.check()
    }
}

fn parent_of(sequence: &Sequence, block: usize) -> ChainHash {
    if block == 0 { sequence.root } else { sequence.chain[block - 1] }
}
