//! The arithmetic: a few query rows against a run of 64 keys.
//!
//! Every query row is taken through the same operations in the same order however many rows share
//! a tile: per key one chain of multiply-adds over the dimensions, per run of 64 keys (aligned to
//! the position in the sequence) one update of maximum and sum, per output dimension one chain of
//! multiply-adds over the keys. Sharing saves loads of keys and values, nothing else.

#![allow(clippy::needless_range_loop, reason = "indices of several arrays and pointers at once")]
#![allow(unsafe_code, reason = "pointers into KV blocks and scratch, bounded by the caller")]

use std::marker::PhantomData;

use crate::{
    kv::{CACHE_LINE_WORDS, GROUP, KV_BLOCK, KvElement, KvLayout},
    lanes::{Kernel, LANES, Simd, Sixteen},
};

/// Most query rows in a tile: with sixteen lanes each, 12 of the 16 registers of AVX2.
pub(super) const ROWS: usize = 6;

/// KV blocks in a run.
pub(super) const RUN_BLOCKS: usize = 4;

/// Keys in a run.
pub(super) const RUN: usize = RUN_BLOCKS * KV_BLOCK;

/// `R` query rows of one key and value head, and one run of keys.
pub(super) struct Tile<E, const R: usize> {
    /// The rows, scaled by `softmax scale * log2(e)`: `[R][head_dim]`.
    pub(super) queries: *const f32,
    pub(super) head_dim: usize,
    /// Keys and values of the run's blocks for this head; null past the last one in use.
    pub(super) blocks: [*const u32; RUN_BLOCKS],
    /// Where the blocks of the next run lie, or any other addresses: these are only prefetched,
    /// since a sequence's blocks are scattered and the processor cannot guess where the next one is.
    pub(super) ahead: [*const u32; RUN_BLOCKS],
    pub(super) layout: KvLayout,
    /// Keys of the run that each row may see; never fewer than for the row before.
    pub(super) visible: [usize; R],
    /// Greatest score so far, one per row; valid for reading and writing [`LANES`] values.
    pub(super) maxima: *mut f32,
    /// Sums of the exponentials so far: `[R][16]`.
    pub(super) sums: *mut f32,
    /// Weighted sums of the values so far: `[R][value_groups * 16]`.
    pub(super) values: *mut f32,
    /// `[ROWS][RUN]`.
    pub(super) scores: *mut f32,
    pub(super) element: PhantomData<E>,
}

impl<E: KvElement, const R: usize> Kernel for Tile<E, R> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (fewest, most) = (self.visible[0], self.visible[R - 1]);
        let blocks = most.div_ceil(KV_BLOCK);
        // SAFETY: the caller's pointers cover the tile as their fields say.
        unsafe {
            self.score_all(s, blocks);
            let decay = self.softmax(s, blocks);
            self.weigh::<S, R>(s, 0, 0..fewest, decay);
            for row in 0..R {
                if self.visible[row] > fewest {
                    self.weigh::<S, 1>(s, row, fewest..self.visible[row], [1.0]);
                }
            }
        }
    }
}

impl<E: KvElement, const R: usize> Tile<E, R> {
    /// Groups of a cache line, which one prefetch brings.
    const LINE: usize = CACHE_LINE_WORDS / E::WORDS;

    /// Scores of all rows against the first `blocks` blocks.
    #[inline(always)]
    unsafe fn score_all<S: Simd>(&self, s: S, blocks: usize) {
        let mut block = 0;
        // Few rows make few chains of dependent multiply-adds; more blocks at a time make more.
        // SAFETY: blocks below `blocks` are in use.
        unsafe {
            if 4 * R <= S::SUMS && blocks == RUN_BLOCKS {
                self.score::<S, 4>(s, 0);
                return;
            }
            while 2 * R <= S::SUMS && block + 2 <= blocks {
                self.score::<S, 2>(s, block);
                block += 2;
            }
            while block < blocks {
                self.score::<S, 1>(s, block);
                block += 1;
            }
        }
    }

    /// Scores against `B` blocks from `first`.
    #[inline(always)]
    unsafe fn score<S: Simd, const B: usize>(&self, s: S, first: usize) {
        let mut sums = [[S::W::splat(s, 0.0); B]; R];
        let queries: [*const f32; B] = unrelated::<S, B>(self.queries);
        // SAFETY: within the queries, the keys of used blocks and the scores.
        unsafe {
            for d in 0..self.head_dim {
                for b in 0..B {
                    if d.is_multiple_of(Self::LINE) {
                        s.prefetch(self.ahead[first + b].wrapping_add(d * E::WORDS));
                    }
                    let keys = E::load(s, self.blocks[first + b].add(d * E::WORDS));
                    for r in 0..R {
                        let q = S::W::splat(s, *queries[b].add(r * self.head_dim + d));
                        sums[r][b] = q.fma(s, keys, sums[r][b]);
                    }
                }
            }
            for r in 0..R {
                for b in 0..B {
                    sums[r][b].store(s, self.scores.add(r * RUN + (first + b) * KV_BLOCK));
                }
            }
        }
    }

    /// Turns scores into exponentials, zero for keys that a row may not see, and returns by what
    /// the sums of each row so far must be multiplied.
    #[inline(always)]
    unsafe fn softmax<S: Simd>(&self, s: S, blocks: usize) -> [f32; R] {
        let mut highest = [f32::NEG_INFINITY; LANES];
        let (mut maxima, mut decay) = ([0.0; LANES], [0.0; LANES]);
        // SAFETY: within the scores, maxima and sums.
        unsafe {
            for r in 0..R {
                highest[r] = self.mask_row(s, r, blocks);
            }
            let before = s.load_ptr(self.maxima);
            let after = s.max(before, s.load(&highest));
            s.store_ptr(after, self.maxima);
            s.store(after, &mut maxima);
            s.store(s.exp2(s.sub(before, after)), &mut decay);
            for r in 0..R {
                let maximum = S::W::splat(s, maxima[r]);
                let so_far = self.sums.add(r * KV_BLOCK);
                let mut sums = S::W::load(s, so_far).mul(s, S::W::splat(s, decay[r]));
                for b in 0..blocks {
                    let scores = self.scores.add(r * RUN + b * KV_BLOCK);
                    let p = S::W::load(s, scores).sub(s, maximum).exp2(s);
                    p.store(s, scores);
                    sums = sums.add(s, p);
                }
                sums.store(s, so_far);
            }
        }
        std::array::from_fn(|r| decay[r])
    }

    /// Replaces scores of keys that the row may not see by minus infinity; returns the greatest.
    #[inline(always)]
    unsafe fn mask_row<S: Simd>(&self, s: S, row: usize, blocks: usize) -> f32 {
        let mut highest = S::W::splat(s, f32::NEG_INFINITY);
        for b in 0..blocks {
            // SAFETY: within the scores.
            unsafe {
                let scores = self.scores.add(row * RUN + b * KV_BLOCK);
                let mut seen = S::W::load(s, scores);
                if self.visible[row] < (b + 1) * KV_BLOCK {
                    let n = self.visible[row].saturating_sub(b * KV_BLOCK);
                    seen = seen.keep_first(s, n, f32::NEG_INFINITY);
                    seen.store(s, scores);
                }
                highest = highest.max(s, seen);
            }
        }
        highest.reduce_max(s)
    }

    /// `values = values * decay + exponentials * V` for `N` rows from `row`, over `keys` of the run.
    #[inline(always)]
    unsafe fn weigh<S: Simd, const N: usize>(
        &self,
        s: S,
        row: usize,
        keys: std::ops::Range<usize>,
        decay: [f32; N],
    ) {
        let groups = self.layout.value_groups;
        let mut group = 0;
        // SAFETY: groups below `value_groups` exist.
        unsafe {
            // As for the scores: few rows take more groups at a time.
            while 4 * N <= S::SUMS && group + 4 <= groups {
                self.weigh_groups::<S, N, 4>(s, row, keys.clone(), &decay, group);
                group += 4;
            }
            while 2 * N <= S::SUMS && group + 2 <= groups {
                self.weigh_groups::<S, N, 2>(s, row, keys.clone(), &decay, group);
                group += 2;
            }
            while group < groups {
                self.weigh_groups::<S, N, 1>(s, row, keys.clone(), &decay, group);
                group += 1;
            }
        }
    }

    /// The part of [`Self::weigh`] for `G` groups of 16 dimensions from `group`.
    #[inline(always)]
    unsafe fn weigh_groups<S: Simd, const N: usize, const G: usize>(
        &self,
        s: S,
        row: usize,
        keys: std::ops::Range<usize>,
        decay: &[f32; N],
        group: usize,
    ) {
        let width = self.layout.value_groups * GROUP;
        let row_words = self.layout.value_groups * E::WORDS;
        let mut sums = [[S::W::splat(s, 0.0); G]; N];
        // SAFETY: within the values so far, the exponentials and the value rows of used blocks.
        unsafe {
            let exponentials: [*const f32; G] = unrelated::<S, G>(self.scores.add(row * RUN));
            let at = |r: usize, g: usize| self.values.add((row + r) * width + (group + g) * GROUP);
            for r in 0..N {
                for g in 0..G {
                    let scale = S::W::splat(s, decay[r]);
                    sums[r][g] = S::W::load(s, at(r, g)).mul(s, scale);
                }
            }
            for block in keys.start / KV_BLOCK..keys.end.div_ceil(KV_BLOCK) {
                let start = self.layout.keys + group * E::WORDS;
                let values = self.blocks[block].add(start);
                let ahead = self.ahead[block].wrapping_add(start);
                let first = keys.start.max(block * KV_BLOCK);
                let end = keys.end.min((block + 1) * KV_BLOCK);
                for key in first..end {
                    let offset = (key - block * KV_BLOCK) * row_words;
                    for g in 0..G {
                        let offset = offset + g * E::WORDS;
                        if g.is_multiple_of(Self::LINE) {
                            s.prefetch(ahead.wrapping_add(offset));
                        }
                        let values = E::load(s, values.add(offset));
                        for r in 0..N {
                            let p = S::W::splat(s, *exponentials[g].add(r * RUN + key));
                            sums[r][g] = p.fma(s, values, sums[r][g]);
                        }
                    }
                }
            }
            for r in 0..N {
                for g in 0..G {
                    sums[r][g].store(s, at(r, g));
                }
            }
        }
    }
}

/// Copies of a pointer that the compiler cannot tell to be equal where registers are few.
///
/// It would otherwise load a broadcast value once for all `N` uses and keep it, which takes
/// registers that the sums need; loading it again is free beside the multiply-adds.
#[inline(always)]
fn unrelated<S: Simd, const N: usize>(pointer: *const f32) -> [*const f32; N] {
    let may_keep = S::SUMS > ROWS;
    std::array::from_fn(
        |i| {
            if i == 0 || may_keep { pointer } else { std::hint::black_box(pointer) }
        },
    )
}
