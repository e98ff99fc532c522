//! `Q6K`: ggml's `block_q6_K`, 256 values of 6 bits with an i8 scale per 16 and an f16 scale per
//! 256. Layout of the file's block: `ggml/src/ggml-common.h` and `dequantize_row_q6_K` of ggml.
//!
//! Strip block: the f16 scales of all rows, then 8 groups of 32: two i8 scales of each row, then the
//! codes in a section of 4 and one of 2 bits. The byte count does not change.

use super::{FormatSpec, GROUP, Layout, codes, f16_at};

pub(super) static Q6K: FormatSpec = FormatSpec {
    name: "q6_k",
    group: BLOCK,
    row_bytes: |k| k / BLOCK * BLOCK_BYTES,
    strip_bytes: |layout, k| k / BLOCK * BLOCK_BYTES * layout.rows(),
    pack_row,
    pack_strip: None,
    unpack,
    dequantise_row,
};

const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 210;
/// Bytes that a row takes in a group of 32: two scales, 16 bytes of low bits, 8 of high bits.
const GROUP_BYTES: usize = 26;

/// The parts of one canonical block.
struct Block<'a> {
    low: &'a [u8],
    high: &'a [u8],
    scales: &'a [u8],
    d: &'a [u8],
}

impl<'a> Block<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            low: &bytes[..128],
            high: &bytes[128..192],
            scales: &bytes[192..208],
            d: &bytes[208..210],
        }
    }

    /// Code of value `k`, 0 to 63; 32 stands for zero.
    fn code(&self, k: usize) -> u8 {
        let (half, quarter, i) = (k / 128, k % 128 / 32, k % 32);
        let low = self.low[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
        let high = self.high[half * 32 + i] >> (2 * quarter) & 3;
        low | high << 4
    }
}

fn pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (packed, block) in strip.chunks_exact_mut(rows * BLOCK_BYTES).zip(blocks) {
        packed[2 * r..2 * r + 2].copy_from_slice(block.d);
        let groups = packed[2 * rows..].chunks_exact_mut(rows * GROUP_BYTES);
        for (g, group) in groups.enumerate() {
            group[2 * r..2 * r + 2].copy_from_slice(&block.scales[2 * g..2 * g + 2]);
            let sections = &mut group[2 * rows..];
            codes::put::<4, 2>(layout, r, sections, |k| block.code(g * GROUP + k));
        }
    }
}

fn unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let blocks = strip.chunks_exact(rows * BLOCK_BYTES).skip(k0 / BLOCK);
    for (packed, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let d = f16_at(packed, r);
        let groups = packed[2 * rows..].chunks_exact(rows * GROUP_BYTES);
        for (group, out) in groups.zip(out.chunks_mut(GROUP)) {
            for (k, out) in out.iter_mut().enumerate() {
                let code = codes::get::<4, 2>(layout, r, &group[2 * rows..], k);
                *out = value(code, group[2 * r + k / 16], d);
            }
        }
    }
}

fn dequantise_row(row: &[u8], out: &mut [f32]) {
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let d = f16_at(block.d, 0);
        for (k, out) in out.iter_mut().enumerate() {
            *out = value(block.code(k), block.scales[k / 16], d);
        }
    }
}

fn value(code: u8, scale: u8, d: f32) -> f32 {
    d * f32::from(scale as i8) * (f32::from(code) - 32.0)
}
