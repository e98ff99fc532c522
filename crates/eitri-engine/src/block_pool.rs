//! Reference counts of KV blocks and the order in which free ones are reused.
//!
//! Free blocks form one doubly linked list, threaded through an array so that nothing is allocated
//! after construction. The front is reused first: blocks without cached content go there, blocks
//! with cached content go to the back, which makes the list the cache's LRU order.

use crate::BlockId;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

#[derive(Debug)]
pub(crate) struct BlockPool {
    ref_counts: Vec<u32>,
    links: Vec<Link>,
    front: u32,
    back: u32,
    free: usize,
}

impl BlockPool {
    pub(crate) fn new(num_blocks: usize) -> Self {
        let mut pool = Self {
            ref_counts: vec![0; num_blocks],
            links: vec![Link { prev: NONE, next: NONE }; num_blocks],
            front: NONE,
            back: NONE,
            free: 0,
        };
        for block in 0..num_blocks {
            pool.push_back(block as u32);
        }
        pool
    }

    pub(crate) fn len(&self) -> usize {
        self.ref_counts.len()
    }

    pub(crate) fn free_count(&self) -> usize {
        self.free
    }

    pub(crate) fn ref_count(&self, block: BlockId) -> u32 {
        self.ref_counts[block.0 as usize]
    }

    /// Takes the block that is next in line for reuse.
    pub(crate) fn pop(&mut self) -> Option<BlockId> {
        if self.front == NONE {
            return None;
        }
        let block = BlockId(self.front);
        self.acquire(block);
        Some(block)
    }

    /// Adds a holder; a free block leaves the free list.
    pub(crate) fn acquire(&mut self, block: BlockId) {
        let count = &mut self.ref_counts[block.0 as usize];
        *count += 1;
        if *count == 1 {
            self.unlink(block.0);
        }
    }

    /// Removes a holder and says whether it was the last. `cached` blocks are reused last.
    pub(crate) fn release(&mut self, block: BlockId, cached: bool) -> bool {
        let count = &mut self.ref_counts[block.0 as usize];
        debug_assert!(*count > 0, "{block:?} released more often than acquired");
        *count -= 1;
        if *count > 0 {
            return false;
        }
        if cached {
            self.push_back(block.0);
        } else {
            self.push_front(block.0);
        }
        true
    }

    fn push_back(&mut self, block: u32) {
        self.links[block as usize] = Link { prev: self.back, next: NONE };
        match self.back {
            NONE => self.front = block,
            back => self.links[back as usize].next = block,
        }
        self.back = block;
        self.free += 1;
    }

    fn push_front(&mut self, block: u32) {
        self.links[block as usize] = Link { prev: NONE, next: self.front };
        match self.front {
            NONE => self.back = block,
            front => self.links[front as usize].prev = block,
        }
        self.front = block;
        self.free += 1;
    }

    fn unlink(&mut self, block: u32) {
        let Link { prev, next } = self.links[block as usize];
        match prev {
            NONE => self.front = next,
            prev => self.links[prev as usize].next = next,
        }
        match next {
            NONE => self.back = prev,
            next => self.links[next as usize].prev = prev,
        }
        self.free -= 1;
    }

    /// Checks the free list and compares the reference counts with `holders`.
    pub(crate) fn check(&self, holders: &[u32]) -> Result<(), String> {
        if holders != self.ref_counts {
            return Err(format!("holders {holders:?} but reference counts {:?}", self.ref_counts));
        }
        let (mut seen, mut prev, mut at) = (0, NONE, self.front);
        while at != NONE {
            let link = self.links[at as usize];
            if link.prev != prev || self.ref_counts[at as usize] != 0 || seen > self.len() {
                return Err(format!("free list broken at block {at}"));
            }
            seen += 1;
            (prev, at) = (at, link.next);
        }
        let unheld = holders.iter().filter(|&&count| count == 0).count();
        if prev != self.back || seen != self.free || unheld != self.free {
            return Err(format!("{seen} blocks listed, {} counted, {unheld} unheld", self.free));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(pool: &mut BlockPool) -> Vec<u32> {
        std::iter::from_fn(|| pool.pop()).map(|block| block.0).collect()
    }

    #[test]
    fn uncached_blocks_are_reused_first_and_cached_ones_in_order_of_release() {
        let mut pool = BlockPool::new(5);
        assert_eq!(drain(&mut pool), [0, 1, 2, 3, 4]);
        pool.release(BlockId(3), true);
        pool.release(BlockId(1), true);
        pool.release(BlockId(0), false);
        pool.release(BlockId(4), true);
        pool.release(BlockId(2), false);
        assert_eq!(drain(&mut pool), [2, 0, 3, 1, 4]);
    }

    #[test]
    fn a_block_is_free_when_its_last_holder_leaves() {
        let mut pool = BlockPool::new(2);
        let block = pool.pop().unwrap();
        pool.acquire(block);
        assert!(!pool.release(block, true));
        assert_eq!(pool.free_count(), 1);
        assert!(pool.release(block, true));
        assert_eq!(pool.check(&[0, 0]), Ok(()));
        pool.acquire(block);
        assert_eq!(pool.check(&[1, 0]), Ok(()));
        assert!(pool.check(&[0, 0]).is_err());
    }
}
