//! Ordinary writes to global memory that a bulk copy touches with no proxy fence between.
//!
//! Bulk copies go through the asynchronous proxy, which need not see what the generic proxy has
//! written before a `fence.proxy.async` (PTX ISA, "Memory Consistency Model", proxies; D. Lustig,
//! S. Cooksey and O. Giroux, "Mixed-Proxy Extensions for the NVIDIA PTX Memory Consistency Model",
//! 2022). Inside of a CTA the fence must lie on the path from the writing thread to the copying
//! one. Between CTAs one that any thread of either has run since the write counts, whatever orders
//! the two: NVIDIA's documents do not agree on the side that needs it.

use std::collections::HashMap;

/// Bytes of the pages in which writes are kept.
const PAGE: u64 = 4096;

/// The last ordinary write of some bytes of a word.
#[derive(Debug, Clone, Copy)]
struct Mark {
    block: u64,
    thread: u16,
    /// Bytes of the word, one bit each.
    bytes: u8,
    /// The thread's time in its CTA, and the place in the order of execution.
    time: u32,
    step: u64,
    pc: u32,
}

/// Who touches global memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Toucher {
    pub(crate) block: u64,
    pub(crate) thread: usize,
    pub(crate) time: u32,
    pub(crate) pc: u32,
}

/// The history of one launch.
#[derive(Debug, Default)]
pub(crate) struct GlobalProxies {
    pages: HashMap<u64, Vec<Vec<Mark>>>,
    steps: u64,
    /// Step of the last proxy fence of each CTA.
    fences: HashMap<u64, u64>,
}

impl GlobalProxies {
    /// Notes an ordinary write.
    pub(crate) fn write(&mut self, by: Toucher, address: u64, bytes: u32) {
        self.steps += 1;
        let (start, end) = (address, address + u64::from(bytes));
        for word in start / 4..end.div_ceil(4) {
            let low = start.max(4 * word) - 4 * word;
            let high = end.min(4 * word + 4) - 4 * word;
            let mark = Mark {
                block: by.block,
                thread: by.thread as u16,
                bytes: (0xf_u8 >> (4 - (high - low))) << low,
                time: by.time,
                step: self.steps,
                pc: by.pc,
            };
            let page = self
                .pages
                .entry(4 * word / PAGE)
                .or_insert_with(|| vec![Vec::new(); PAGE as usize / 4]);
            let marks = &mut page[(word % (PAGE / 4)) as usize];
            marks.retain_mut(|old| {
                old.bytes &= !mark.bytes;
                old.bytes != 0
            });
            marks.push(mark);
        }
    }

    /// A proxy fence of a thread of a CTA.
    pub(crate) fn fence(&mut self, block: u64) {
        self.steps += 1;
        self.fences.insert(block, self.steps);
    }

    /// The instruction of a write to a range that no fence separates from a bulk copy of a CTA.
    /// `fenced` tells it for writes of that CTA, by thread and time.
    pub(crate) fn unfenced(
        &self,
        block: u64,
        address: u64,
        bytes: u32,
        fenced: impl Fn(usize, u32) -> bool,
    ) -> Option<u32> {
        let since = |block: u64, step: u64| self.fences.get(&block).is_some_and(|&at| at > step);
        let exposed = |mark: &&Mark| {
            if mark.block == block {
                !fenced(usize::from(mark.thread), mark.time)
            } else {
                !since(mark.block, mark.step) && !since(block, mark.step)
            }
        };
        let words = address / 4..(address + u64::from(bytes)).div_ceil(4);
        words
            .filter_map(|word| {
                self.pages.get(&(4 * word / PAGE))?.get((word % (PAGE / 4)) as usize)
            })
            .find_map(|marks| marks.iter().find(exposed))
            .map(|mark| mark.pc)
    }

    /// A bulk copy has written a range: nothing ordinary is left there.
    pub(crate) fn overwrite(&mut self, address: u64, bytes: u32) {
        for word in address / 4..(address + u64::from(bytes)).div_ceil(4) {
            if let Some(page) = self.pages.get_mut(&(4 * word / PAGE)) {
                page[(word % (PAGE / 4)) as usize].clear();
            }
        }
    }
}
