//! Which block holds the keys and values of which tokens after which prefix.
//!
//! A full block is known by a 128-bit hash (XXH3) chained over its parent's hash and its ids; the
//! chain starts at a root that depends on the request's salt. Ids are compared on every hit, so two
//! texts whose hashes collide are never taken for one another.
//!
//! Beside full blocks the cache knows partially filled ones. They are found by going through the
//! children of the last block that was hit, which is what lets a hit reach to the last token but
//! one instead of to a block border.

use std::collections::HashMap;

use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::{BlockId, TokenId};

/// Hash of all tokens up to the end of a block.
pub(crate) type ChainHash = u128;

/// Children looked at for a partial hit, newest first. It bounds the time of an admission when
/// thousands of prompts part at the same block.
const MAX_CHILDREN_SCANNED: usize = 4096;

const NONE: u32 = u32::MAX;

/// Start of the chain for requests with this salt.
pub(crate) fn salted_root(salt: Option<&str>) -> ChainHash {
    match salt {
        None => xxh3_128(b"eitri"),
        Some(salt) => xxh3_128_with_seed(salt.as_bytes(), 1),
    }
}

/// Start of a chain that only the continuations of one request share.
pub(crate) fn private_root(request: u64) -> ChainHash {
    xxh3_128_with_seed(&request.to_le_bytes(), 2)
}

/// Hash of a full block. `bytes` is scratch memory.
pub(crate) fn chain(parent: ChainHash, ids: &[TokenId], bytes: &mut Vec<u8>) -> ChainHash {
    bytes.clear();
    bytes.extend_from_slice(&parent.to_le_bytes());
    for id in ids {
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    xxh3_128(bytes)
}

/// What the cache knows about one block; `filled == 0` when it knows nothing.
#[derive(Debug, Clone, Copy)]
struct Entry {
    parent: ChainHash,
    hash: ChainHash,
    filled: usize,
    prev: u32,
    next: u32,
}

const VACANT: Entry = Entry { parent: 0, hash: 0, filled: 0, prev: NONE, next: NONE };

#[derive(Debug)]
pub(crate) struct PrefixCache {
    block_size: usize,
    entries: Vec<Entry>,
    ids: Vec<TokenId>,
    full: HashMap<ChainHash, BlockId>,
    /// Newest child of each parent; the others follow through `Entry::next`.
    children: HashMap<ChainHash, u32>,
}

impl PrefixCache {
    pub(crate) fn new(num_blocks: usize, block_size: usize) -> Self {
        Self {
            block_size,
            entries: vec![VACANT; num_blocks],
            ids: vec![0; num_blocks * block_size],
            full: HashMap::with_capacity(num_blocks),
            children: HashMap::with_capacity(num_blocks),
        }
    }

    pub(crate) fn contains(&self, block: BlockId) -> bool {
        self.entries[block.0 as usize].filled > 0
    }

    fn ids_of(&self, block: u32) -> &[TokenId] {
        let start = block as usize * self.block_size;
        &self.ids[start..start + self.entries[block as usize].filled]
    }

    fn children_of(&self, parent: ChainHash) -> impl Iterator<Item = u32> {
        let first = self.children.get(&parent).copied();
        std::iter::successors(first, |&child| {
            Some(self.entries[child as usize].next).filter(|&next| next != NONE)
        })
        .take(MAX_CHILDREN_SCANNED)
    }

    /// The block that holds `ids` after `parent`; `hash` is their chained hash.
    pub(crate) fn find_full(
        &self,
        parent: ChainHash,
        hash: ChainHash,
        ids: &[TokenId],
    ) -> Option<BlockId> {
        let block = *self.full.get(&hash)?;
        let entry = &self.entries[block.0 as usize];
        (entry.parent == parent && self.ids_of(block.0) == ids).then_some(block)
    }

    /// The block after `parent` that shares most leading ids with `ids`, and how many. Of equals the
    /// newest wins.
    pub(crate) fn find_partial(
        &self,
        parent: ChainHash,
        ids: &[TokenId],
    ) -> Option<(BlockId, usize)> {
        let mut best = None;
        let mut longest = 0;
        for child in self.children_of(parent) {
            let shared = self.ids_of(child).iter().zip(ids).take_while(|(a, b)| a == b).count();
            if shared > longest {
                longest = shared;
                best = Some((BlockId(child), shared));
                if longest == ids.len() {
                    break;
                }
            }
        }
        best
    }

    /// Makes a full block known. When an equal one is known already, that one stays. Returns false
    /// when the hash belongs to other ids: nothing after this block may then be cached.
    pub(crate) fn insert_full(
        &mut self,
        block: BlockId,
        parent: ChainHash,
        hash: ChainHash,
        ids: &[TokenId],
    ) -> bool {
        debug_assert_eq!(ids.len(), self.block_size);
        if let Some(&known) = self.full.get(&hash) {
            let same = self.find_full(parent, hash, ids).is_some();
            if known != block {
                self.remove(block);
            }
            return same;
        }
        self.put(block, parent, ids);
        self.entries[block.0 as usize].hash = hash;
        self.full.insert(hash, block);
        true
    }

    /// Makes the first slots of a block known, unless another block holds all of them.
    pub(crate) fn insert_partial(&mut self, block: BlockId, parent: ChainHash, ids: &[TokenId]) {
        debug_assert!(!ids.is_empty() && ids.len() < self.block_size);
        let redundant = self
            .children_of(parent)
            .any(|child| child != block.0 && self.ids_of(child).starts_with(ids));
        if redundant {
            self.remove(block);
        } else {
            self.put(block, parent, ids);
        }
    }

    fn put(&mut self, block: BlockId, parent: ChainHash, ids: &[TokenId]) {
        self.remove(block);
        let at = block.0 as usize;
        let next = self.children.insert(parent, block.0).unwrap_or(NONE);
        if next != NONE {
            self.entries[next as usize].prev = block.0;
        }
        self.entries[at] = Entry { parent, filled: ids.len(), next, ..VACANT };
        let start = at * self.block_size;
        self.ids[start..start + ids.len()].copy_from_slice(ids);
    }

    /// Forgets a block.
    pub(crate) fn remove(&mut self, block: BlockId) {
        let entry = std::mem::replace(&mut self.entries[block.0 as usize], VACANT);
        if entry.filled == 0 {
            return;
        }
        if entry.filled == self.block_size {
            self.full.remove(&entry.hash);
        }
        if entry.next != NONE {
            self.entries[entry.next as usize].prev = entry.prev;
        }
        match (entry.prev, entry.next) {
            (NONE, NONE) => {
                self.children.remove(&entry.parent);
            }
            (NONE, next) => {
                self.children.insert(entry.parent, next);
            }
            (prev, next) => self.entries[prev as usize].next = next,
        }
    }

    /// Forgets all blocks and returns how many were known.
    pub(crate) fn clear(&mut self) -> usize {
        let known = self.entries.iter().filter(|entry| entry.filled > 0).count();
        self.entries.fill(VACANT);
        self.full.clear();
        self.children.clear();
        known
    }

    /// Checks that maps, lists and entries agree.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (mut known, mut full) = (0, 0);
        for (block, entry) in self.entries.iter().enumerate().filter(|(_, e)| e.filled > 0) {
            known += 1;
            if entry.filled == self.block_size {
                full += 1;
                if self.full.get(&entry.hash) != Some(&BlockId(block as u32)) {
                    return Err(format!("full block {block} is not in the map"));
                }
            }
        }
        let mut listed = 0;
        for (&parent, &first) in &self.children {
            let (mut prev, mut at) = (NONE, first);
            while at != NONE {
                let entry = &self.entries[at as usize];
                if entry.parent != parent || entry.prev != prev || listed > known {
                    return Err(format!("list of children broken at block {at}"));
                }
                listed += 1;
                (prev, at) = (at, entry.next);
            }
        }
        if listed != known || full != self.full.len() {
            return Err(format!("{known} blocks known, {listed} listed, {full} full"));
        }
        Ok(())
    }
}
