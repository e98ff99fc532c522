//! `Iq4Nl` and `Iq4Xs`: 4-bit codes that name sixteen uneven steps ([`STEPS`]). `Iq4Nl` has an f16
//! scale per 32; `Iq4Xs` is ggml's `block_iq4_xs`, a 6-bit scale with zero 32 per 32 and an f16
//! factor per 256. Layout of the file's blocks: `ggml/src/ggml-common.h` and
//! `dequantize_row_iq4_xs` of ggml.
//!
//! Strip group of `Iq4Nl`: the scales of all rows, then the codes. Strip block of `Iq4Xs`: the
//! factors of all rows; for each two groups of 32 the low 4 bits of the scales of each row in a
//! byte; for each four groups the high 2 bits; then the codes of each group. The four codes of a
//! cell are k 0, 2, 1, 3, as in `I8`, since kernels widen steps to 16 bits.

use super::{FormatSpec, GROUP, Layout, codes, f16_at};

pub(super) static IQ4_NL: FormatSpec = FormatSpec {
    name: "iq4_nl",
    group: GROUP,
    row_bytes: |k| k / GROUP * 18,
    strip_bytes: |layout, k| k / GROUP * layout.rows() * 18,
    pack_row: nl_pack_row,
    pack_strip: None,
    unpack: nl_unpack,
    dequantise_row: nl_dequantise_row,
};

pub(super) static IQ4_XS: FormatSpec = FormatSpec {
    name: "iq4_xs",
    group: BLOCK,
    row_bytes: |k| k / BLOCK * BLOCK_BYTES,
    strip_bytes: |layout, k| k / BLOCK * BLOCK_BYTES * layout.rows(),
    pack_row: xs_pack_row,
    pack_strip: None,
    unpack: xs_unpack,
    dequantise_row: xs_dequantise_row,
};

/// `kvalues_iq4nl` of ggml: what a code stands for.
pub(crate) static STEPS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 136;
/// Bytes of a row's factor and scales in a block.
const HEAD: usize = 8;

/// Which k is in the place of k in its cell.
fn ordered(k: usize) -> usize {
    k / 4 * 4 + [0, 2, 1, 3][k % 4]
}

fn step(code: u8) -> f32 {
    f32::from(STEPS[usize::from(code)])
}

fn nl_pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let (stored, scales) = row.split_at(row.len() / 18 * 16);
    for (g, group) in strip.chunks_exact_mut(rows * 18).enumerate() {
        group[2 * r..2 * r + 2].copy_from_slice(&scales[2 * g..2 * g + 2]);
        codes::put::<4, 0>(layout, r, &mut group[2 * rows..], |k| {
            let k = g * GROUP + ordered(k);
            stored[k / 2] >> (4 * (k % 2)) & 15
        });
    }
}

fn nl_unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    for (group, out) in strip.chunks_exact(rows * 18).skip(k0 / GROUP).zip(out.chunks_mut(GROUP)) {
        let scale = f16_at(group, r);
        for (k, out) in out.iter_mut().enumerate() {
            *out = scale * step(codes::get::<4, 0>(layout, r, &group[2 * rows..], ordered(k)));
        }
    }
}

fn nl_dequantise_row(row: &[u8], out: &mut [f32]) {
    let (stored, scales) = row.split_at(out.len() / 2);
    for (k, out) in out.iter_mut().enumerate() {
        *out = f16_at(scales, k / GROUP) * step(stored[k / 2] >> (4 * (k % 2)) & 15);
    }
}

/// The parts of one canonical block.
struct Block<'a> {
    d: &'a [u8],
    high: u16,
    low: &'a [u8],
    codes: &'a [u8],
}

impl<'a> Block<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let high = u16::from_le_bytes([bytes[2], bytes[3]]);
        Self { d: &bytes[..2], high, low: &bytes[4..8], codes: &bytes[8..] }
    }

    /// Scale of a group, 0 to 63; 32 stands for zero.
    fn scale(&self, group: usize) -> u8 {
        let low = self.low[group / 2] >> (4 * (group % 2)) & 15;
        low | ((self.high >> (2 * group) & 3) as u8) << 4
    }

    fn code(&self, group: usize, k: usize) -> u8 {
        self.codes[group * 16 + k % 16] >> (k / 16 * 4) & 15
    }
}

/// Places of the low and of the high bits of a group's scale in a block of a strip.
fn scale_at(rows: usize, r: usize, group: usize) -> (usize, usize) {
    ((2 + group / 2) * rows + r, (6 + group / 4) * rows + r)
}

fn xs_pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (packed, block) in strip.chunks_exact_mut(rows * BLOCK_BYTES).zip(blocks) {
        packed[2 * r..2 * r + 2].copy_from_slice(block.d);
        for g in 0..BLOCK / GROUP {
            let (low, high) = scale_at(rows, r, g);
            packed[low] |= (block.scale(g) & 15) << (4 * (g % 2));
            packed[high] |= block.scale(g) >> 4 << (2 * (g % 4));
        }
        let groups = packed[HEAD * rows..].chunks_exact_mut(rows * 16);
        for (g, group) in groups.enumerate() {
            codes::put::<4, 0>(layout, r, group, |k| block.code(g, ordered(k)));
        }
    }
}

fn xs_unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let blocks = strip.chunks_exact(rows * BLOCK_BYTES).skip(k0 / BLOCK);
    for (packed, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let d = f16_at(packed, r);
        let groups = packed[HEAD * rows..].chunks_exact(rows * 16);
        for (g, (group, out)) in groups.zip(out.chunks_mut(GROUP)).enumerate() {
            let (low, high) = scale_at(rows, r, g);
            let scale =
                packed[low] >> (4 * (g % 2)) & 15 | (packed[high] >> (2 * (g % 4)) & 3) << 4;
            for (k, out) in out.iter_mut().enumerate() {
                *out = xs_value(codes::get::<4, 0>(layout, r, group, ordered(k)), scale, d);
            }
        }
    }
}

fn xs_dequantise_row(row: &[u8], out: &mut [f32]) {
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let d = f16_at(block.d, 0);
        for (k, out) in out.iter_mut().enumerate() {
            let (g, k) = (k / GROUP, k % GROUP);
            *out = xs_value(block.code(g, k), block.scale(g), d);
        }
    }
}

fn xs_value(code: u8, scale: u8, d: f32) -> f32 {
    d * (f32::from(scale) - 32.0) * step(code)
}
