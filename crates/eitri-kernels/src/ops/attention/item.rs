//! A unit of work: some consecutive tokens of one sequence, for query heads of one KV head.

#![allow(unsafe_code, reason = "writes disjoint parts of the output and fills in tile pointers")]

use std::marker::PhantomData;

use super::tile::{ROWS, RUN, RUN_BLOCKS, Tile};
use crate::{
    HeadShape, Isa, KvScales,
    disjoint::Disjoint,
    kv::{GROUP, KV_BLOCK, KvElement, KvLayout},
    lanes::{LANES, dispatch},
};

/// What all items of a call share.
pub(super) struct Batch<'a> {
    pub(super) isa: Isa,
    pub(super) shape: HeadShape,
    /// Softmax scale times log2(e): exponentials are powers of two.
    pub(super) scale: f32,
    pub(super) qkv: &'a [f32],
    pub(super) words: &'a [u32],
    pub(super) layout: KvLayout,
    pub(super) scales: &'a KvScales,
    pub(super) out: &'a Disjoint<'a, f32>,
}

/// The work. Rows are its tokens times its heads, all heads of a token together.
pub(super) struct Item<'a> {
    /// First row in the batch.
    pub(super) row: usize,
    pub(super) tokens: usize,
    /// Position of the first token in its sequence.
    pub(super) position: usize,
    /// First query head.
    pub(super) head: usize,
    pub(super) heads: usize,
    /// Blocks of the sequence.
    pub(super) table: &'a [u32],
}

/// One thread's intermediate values.
pub(super) struct Rows<'a> {
    queries: &'a mut [f32],
    values: &'a mut [f32],
    sums: &'a mut [f32],
    maxima: &'a mut [f32],
    scores: &'a mut [f32],
}

impl<'a> Rows<'a> {
    /// Floats needed for items of up to `rows` rows, a multiple of a cache line.
    pub(super) fn floats(rows: usize, head_dim: usize) -> usize {
        let padded = head_dim.next_multiple_of(GROUP);
        let maxima = (rows + LANES).next_multiple_of(GROUP);
        rows * (2 * padded + KV_BLOCK) + maxima + ROWS * RUN
    }

    /// Divides memory of [`Self::floats`] floats.
    pub(super) fn new(memory: &'a mut [f32], rows: usize, head_dim: usize) -> Self {
        let padded = head_dim.next_multiple_of(GROUP);
        let (queries, memory) = memory.split_at_mut(rows * padded);
        let (values, memory) = memory.split_at_mut(rows * padded);
        let (sums, memory) = memory.split_at_mut(rows * KV_BLOCK);
        let (scores, maxima) = memory.split_at_mut(ROWS * RUN);
        Self { queries, values, sums, maxima, scores }
    }
}

impl Batch<'_> {
    /// Computes one item. `item.table` covers all its positions, with blocks that exist.
    pub(super) fn run<E: KvElement>(&self, item: &Item<'_>, rows: &mut Rows<'_>) {
        let count = item.tokens * item.heads;
        self.load_queries::<E>(item, rows);
        rows.values.fill(0.0);
        rows.sums.fill(0.0);
        rows.maxima.fill(f32::NEG_INFINITY);
        let height = count.div_ceil(count.div_ceil(ROWS));
        let last = item.position + item.tokens - 1;
        for run in 0..=last / RUN {
            let (blocks, ahead) = (self.blocks(item, run, last), self.blocks(item, run + 1, last));
            for first in (0..count).step_by(height) {
                let n = height.min(count - first);
                // Rows are in order of position: if the last one sees none of the run, none does.
                if item.position + (first + n - 1) / item.heads < run * RUN {
                    continue;
                }
                match n {
                    1 => self.tile::<E, 1>(item, rows, first, (run, blocks, ahead)),
                    2 => self.tile::<E, 2>(item, rows, first, (run, blocks, ahead)),
                    3 => self.tile::<E, 3>(item, rows, first, (run, blocks, ahead)),
                    4 => self.tile::<E, 4>(item, rows, first, (run, blocks, ahead)),
                    5 => self.tile::<E, 5>(item, rows, first, (run, blocks, ahead)),
                    _ => self.tile::<E, ROWS>(item, rows, first, (run, blocks, ahead)),
                }
            }
        }
        self.store::<E>(item, rows);
    }

    /// A key's scale is as well applied to the query, once for all keys.
    fn load_queries<E: KvElement>(&self, item: &Item<'_>, rows: &mut Rows<'_>) {
        let head_dim = self.shape.head_dim;
        let scale = self.scale * (self.scales.keys[self.kv_head(item)] * E::UNIT);
        for (row, query) in rows.queries.chunks_exact_mut(head_dim).enumerate() {
            if row == item.tokens * item.heads {
                break;
            }
            let (token, head) = (item.row + row / item.heads, item.head + row % item.heads);
            let start = token * self.shape.qkv_width() + head * head_dim;
            for (q, x) in query.iter_mut().zip(&self.qkv[start..start + head_dim]) {
                *q = x * scale;
            }
        }
    }

    fn kv_head(&self, item: &Item<'_>) -> usize {
        item.head / self.shape.group()
    }

    fn blocks(&self, item: &Item<'_>, run: usize, last: usize) -> [*const u32; RUN_BLOCKS] {
        let kv_head = self.kv_head(item);
        std::array::from_fn(|b| {
            let block = run * RUN_BLOCKS + b;
            if block > last / KV_BLOCK {
                return std::ptr::null();
            }
            let index = item.table[block] as usize * self.shape.kv_heads + kv_head;
            self.words[index * self.layout.head..(index + 1) * self.layout.head].as_ptr()
        })
    }

    fn tile<E: KvElement, const R: usize>(
        &self,
        item: &Item<'_>,
        rows: &mut Rows<'_>,
        first: usize,
        (run, blocks, ahead): (usize, [*const u32; RUN_BLOCKS], [*const u32; RUN_BLOCKS]),
    ) {
        let width = self.layout.value_groups * GROUP;
        let head_dim = self.shape.head_dim;
        let visible = std::array::from_fn(|r| {
            let keys = item.position + (first + r) / item.heads + 1;
            keys.saturating_sub(run * RUN).min(RUN)
        });
        let tile = Tile::<E, R> {
            queries: rows.queries[first * head_dim..(first + R) * head_dim].as_ptr(),
            head_dim,
            blocks,
            ahead,
            layout: self.layout,
            visible,
            maxima: rows.maxima[first..first + LANES].as_mut_ptr(),
            sums: rows.sums[first * KV_BLOCK..(first + R) * KV_BLOCK].as_mut_ptr(),
            values: rows.values[first * width..(first + R) * width].as_mut_ptr(),
            scores: rows.scores.as_mut_ptr(),
            element: PhantomData,
        };
        dispatch(self.isa, tile);
    }

    /// The values' scale is applied to their weighted sum.
    fn store<E: KvElement>(&self, item: &Item<'_>, rows: &Rows<'_>) {
        let head_dim = self.shape.head_dim;
        let value_scale = self.scales.values[self.kv_head(item)] * E::UNIT;
        let width = self.layout.value_groups * GROUP;
        for row in 0..item.tokens * item.heads {
            let (token, head) = (item.row + row / item.heads, item.head + row % item.heads);
            let sum: f32 = rows.sums[row * KV_BLOCK..(row + 1) * KV_BLOCK].iter().sum();
            let scale = value_scale / sum;
            let start = (token * self.shape.heads + head) * head_dim;
            // SAFETY: no other item has this token and head.
            let out = unsafe { self.out.part(start..start + head_dim) };
            for (out, value) in out.iter_mut().zip(&rows.values[row * width..]) {
                *out = value * scale;
            }
        }
    }
}
