//! `Grouped` weights of `E4m3` times activations rounded to bf16, where the CPU multiplies bf16
//! (see [`bf16`](super::bf16)).
//!
//! A code is a bf16 value without rounding, so products are exact; the sum of a group is multiplied
//! by its scale. Some tiles of rows are multiplied while the strip is widened. With more, eight
//! groups are widened into the first-level cache for all of them. Both are the same operations in
//! the same order.

use std::{
    arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_castps_si512, _mm512_dpbf16_ps, _mm512_fmadd_ps,
        _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi32,
        _mm512_ternarylogic_epi32,
    },
    ops::Range,
};

use super::{
    ROWS,
    bf16::{self, RECORD, pairs_of},
    broadcast, checked,
    e4m3::{self, E4m3},
    exact::Values,
    grouped::Blocks,
    load_half, prefetch, store, sums,
};
use crate::{
    matmul::{Kernel, StripCall, tiles},
    weight::GROUP,
};

/// Rows of activations per tile: twelve registers for the sums of a group and twelve for all.
const TILE: usize = 6;
/// With more tiles than these it pays to widen a strip once for all.
const DIRECT_TILES: usize = 2;
/// Groups that are widened together.
const PIECE: usize = 8;
/// Pairs of k in a group.
const PAIRS: usize = GROUP / 2;

/// The kernel; needs [`bf16::is_available`].
pub(super) fn kernel(name: &'static str) -> Kernel {
    Kernel { name, prepare: Some(bf16::PREPARE), run: multiply as _ }
}

/// Where a tile's weights come from.
trait Source {
    unsafe fn pair(&self, group: usize, pair: usize) -> [__m512bh; 2];
    unsafe fn scale(&self, group: usize) -> [__m512; 2];
    fn request(&self, group: usize);
}

/// A strip as it is.
struct Packed(E4m3);

impl Source for Packed {
    /// The upper halves of singles are what they are in bf16: of the first k below those of the second.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
    unsafe fn pair(&self, group: usize, pair: usize) -> [__m512bh; 2] {
        /// Where the first operand is set the second, elsewhere the third.
        const CHOICE: i32 = 0xCA;
        let upper = _mm512_set1_epi32(0xFFFF_0000_u32.cast_signed());
        let mut pairs = [pairs_of(_mm512_setzero_si512()); 2];
        // SAFETY: the caller's.
        let [first, second] = unsafe {
            let codes = self.0.codes(group).add(2 * pair * ROWS);
            [e4m3::halves(load_half(codes)), e4m3::halves(load_half(codes.add(ROWS)))]
        };
        for half in 0..2 {
            let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(first[half]));
            let high = _mm512_castps_si512(second[half]);
            let both = _mm512_ternarylogic_epi32::<CHOICE>(upper, high, low);
            pairs[half] = pairs_of(both);
        }
        pairs
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
    unsafe fn scale(&self, group: usize) -> [__m512; 2] {
        // SAFETY: the caller's.
        unsafe { self.0.group(group) }
    }

    #[inline]
    fn request(&self, group: usize) {
        let (start, bytes) = self.0.place(group);
        // SAFETY: a strip is read only where the features are.
        unsafe { prefetch(start, bytes) };
    }
}

/// Widened groups.
struct Piece {
    pairs: [[[__m512bh; 2]; PAIRS]; PIECE],
    scale: [[__m512; 2]; PIECE],
}

impl Source for Piece {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
    unsafe fn pair(&self, group: usize, pair: usize) -> [__m512bh; 2] {
        self.pairs[group][pair]
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
    unsafe fn scale(&self, group: usize) -> [__m512; 2] {
        self.scale[group]
    }

    #[inline]
    fn request(&self, _: usize) {}
}

impl Piece {
    #[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
    unsafe fn widen(&mut self, strip: &Packed, first: usize, count: usize) {
        // SAFETY: the caller's strip holds the groups.
        unsafe {
            for g in 0..count {
                strip.request(first + g);
                for pair in 0..PAIRS {
                    self.pairs[g][pair] = strip.pair(first + g, pair);
                }
                self.scale[g] = strip.scale(first + g);
            }
        }
    }
}

#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
fn multiply(call: &StripCall<'_>, out: &mut [f32]) {
    let (blocks, bytes) = Blocks::of(call);
    let (strip, groups) = (Packed(E4m3(blocks)), call.k / GROUP);
    checked(call, bytes, groups * RECORD, out);
    let (rows, out) = (call.rows.len(), out.as_mut_ptr());
    if rows <= DIRECT_TILES * TILE {
        tiles(rows, TILE, |start, size| {
            // SAFETY: sizes are checked; `start + size` is at most the number of rows.
            unsafe { rows_of(&strip, 0..groups, call, (start, size), out) };
        });
        return;
    }
    let mut piece = Piece {
        pairs: [[[pairs_of(_mm512_setzero_si512()); 2]; PAIRS]; PIECE],
        scale: [[_mm512_setzero_ps(); 2]; PIECE],
    };
    for first in (0..groups).step_by(PIECE) {
        let end = groups.min(first + PIECE);
        // SAFETY: the checked strip holds these groups.
        unsafe { piece.widen(&strip, first, end - first) };
        tiles(rows, TILE, |start, size| {
            // SAFETY: sizes are checked; `start + size` is at most the number of rows.
            unsafe { rows_of(&piece, first..end, call, (start, size), out) };
        });
    }
}

/// Adds the products of some groups, which are the first ones of `source`, to the sums of `size`
/// rows from `start` on.
#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
unsafe fn rows_of<S: Source>(
    source: &S,
    groups: Range<usize>,
    call: &StripCall<'_>,
    (start, size): (usize, usize),
    out: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        match size {
            0 => {}
            1 => tile::<S, 1>(source, groups, call, start, out),
            2 => tile::<S, 2>(source, groups, call, start, out),
            3 => tile::<S, 3>(source, groups, call, start, out),
            4 => tile::<S, 4>(source, groups, call, start, out),
            5 => tile::<S, 5>(source, groups, call, start, out),
            _ => tile::<S, TILE>(source, groups, call, start, out),
        }
    }
}

#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
unsafe fn tile<S: Source, const M: usize>(
    source: &S,
    groups: Range<usize>,
    call: &StripCall<'_>,
    start: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's source holds the groups, and each row a record for each.
    unsafe {
        let mut acc = sums::<M>(out, start);
        let mut records = [call.records.as_ptr(); M];
        for m in 0..M {
            let first = call.rows[start + m] as usize * (call.k / GROUP) + groups.start;
            records[m] = records[m].add(first * RECORD);
        }
        for g in 0..groups.len() {
            source.request(g);
            let mut of_group = [[_mm512_setzero_ps(); 2]; M];
            for pair in 0..PAIRS {
                let w = source.pair(g, pair);
                for m in 0..M {
                    let x: __m512i = broadcast(records[m].add(4 * pair));
                    for half in 0..2 {
                        let sum = _mm512_dpbf16_ps(of_group[m][half], w[half], pairs_of(x));
                        of_group[m][half] = bf16::pinned(sum);
                    }
                }
            }
            let scale = source.scale(g);
            for m in 0..M {
                for half in 0..2 {
                    acc[m][half] = _mm512_fmadd_ps(of_group[m][half], scale[half], acc[m][half]);
                }
                records[m] = records[m].add(RECORD);
            }
        }
        store(&acc, out, start);
    }
}
