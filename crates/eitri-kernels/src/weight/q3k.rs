//! `Q3K`: ggml's `block_q3_K`, 256 values of 3 bits with zero 4; a 6-bit scale with zero 32 per 16,
//! an f16 factor per 256. Layout of the file's block: `ggml/src/ggml-common.h` and
//! `dequantize_row_q3_K` of ggml.
//!
//! Strip block: the f16 factors of all rows; for each group of 32 the low 4 bits of both scales of
//! each row in a byte; for each two groups the high 2 bits of their scales; then for each group its
//! codes in a section of 2 and one of 1 bit. The byte count does not change.

use super::{FormatSpec, GROUP, Layout, codes, f16_at};

pub(super) static Q3K: FormatSpec = FormatSpec {
    name: "q3_k",
    group: BLOCK,
    row_bytes: |k| k / BLOCK * BLOCK_BYTES,
    strip_bytes: |layout, k| k / BLOCK * BLOCK_BYTES * layout.rows(),
    pack_row,
    pack_strip: None,
    unpack,
    dequantise_row,
};

const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 110;
/// Bytes of a row's factor and scales.
const HEAD: usize = 14;
/// Bytes of a row's codes in a group of 32.
const GROUP_BYTES: usize = 12;

/// The parts of one canonical block.
struct Block<'a> {
    high: &'a [u8],
    low: &'a [u8],
    scales: &'a [u8],
    d: &'a [u8],
}

impl<'a> Block<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            high: &bytes[..32],
            low: &bytes[32..96],
            scales: &bytes[96..108],
            d: &bytes[108..110],
        }
    }

    /// Code of value `k`, 0 to 7; 4 stands for zero.
    fn code(&self, k: usize) -> u8 {
        let (half, quarter, i) = (k / 128, k % 128 / 32, k % 32);
        let low = self.low[half * 32 + i] >> (2 * quarter) & 3;
        low | (self.high[i] >> (k / 32) & 1) << 2
    }

    /// Scale of the `s`-th 16 values, 0 to 63; 32 stands for zero.
    fn scale(&self, s: usize) -> u8 {
        let low = self.scales[s % 8] >> (s / 8 * 4) & 15;
        low | (self.scales[8 + s % 4] >> (s / 4 * 2) & 3) << 4
    }
}

/// Places of the low and of the high bits of a group's scales in a block of a strip.
fn scales_at(rows: usize, r: usize, group: usize) -> (usize, usize) {
    ((2 + group) * rows + r, (10 + group / 2) * rows + r)
}

fn pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (packed, block) in strip.chunks_exact_mut(rows * BLOCK_BYTES).zip(blocks) {
        packed[2 * r..2 * r + 2].copy_from_slice(block.d);
        for g in 0..BLOCK / GROUP {
            let (first, second) = (block.scale(2 * g), block.scale(2 * g + 1));
            let (low, high) = scales_at(rows, r, g);
            packed[low] = first & 15 | (second & 15) << 4;
            packed[high] |= (first >> 4 | second >> 4 << 2) << (4 * (g % 2));
        }
        let groups = packed[HEAD * rows..].chunks_exact_mut(rows * GROUP_BYTES);
        for (g, group) in groups.enumerate() {
            codes::put::<2, 1>(layout, r, group, |k| block.code(g * GROUP + k));
        }
    }
}

fn unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let blocks = strip.chunks_exact(rows * BLOCK_BYTES).skip(k0 / BLOCK);
    for (packed, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let d = f16_at(packed, r);
        let groups = packed[HEAD * rows..].chunks_exact(rows * GROUP_BYTES);
        for (g, (group, out)) in groups.zip(out.chunks_mut(GROUP)).enumerate() {
            let (low, high) = scales_at(rows, r, g);
            let (low, high) = (packed[low], packed[high] >> (4 * (g % 2)));
            let scales = [low & 15 | (high & 3) << 4, low >> 4 | (high >> 2 & 3) << 4];
            for (k, out) in out.iter_mut().enumerate() {
                *out = value(codes::get::<2, 1>(layout, r, group, k), scales[k / 16], d);
            }
        }
    }
}

fn dequantise_row(row: &[u8], out: &mut [f32]) {
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let d = f16_at(block.d, 0);
        for (k, out) in out.iter_mut().enumerate() {
            *out = value(block.code(k), block.scale(k / 16), d);
        }
    }
}

fn value(code: u8, scale: u8, d: f32) -> f32 {
    d * (f32::from(scale) - 32.0) * (f32::from(code) - 4.0)
}
