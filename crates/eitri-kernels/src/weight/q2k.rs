//! `Q2K`: ggml's `block_q2_K`, 256 values of 2 bits; a 4-bit scale and a 4-bit minimum per 16, an f16
//! factor for each per 256. Layout of the file's block: `ggml/src/ggml-common.h` and
//! `dequantize_row_q2_K` of ggml.
//!
//! Strip block: the f16 factors of scales, then of minima, of all rows, then 8 groups of 32: two
//! bytes of each row with the scale in the low and the minimum in the high half, then the codes. The
//! byte count does not change.

use super::{FormatSpec, GROUP, Layout, codes, f16_at};

pub(super) static Q2K: FormatSpec = FormatSpec {
    name: "q2_k",
    group: BLOCK,
    row_bytes: |k| k / BLOCK * BLOCK_BYTES,
    strip_bytes: |layout, k| k / BLOCK * BLOCK_BYTES * layout.rows(),
    pack_row,
    pack_strip: None,
    unpack,
    dequantise_row,
};

const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 84;
/// Bytes that a row takes in a group of 32: two of scales and minima, eight of codes.
const GROUP_BYTES: usize = 10;

/// The parts of one canonical block.
struct Block<'a> {
    scales: &'a [u8],
    codes: &'a [u8],
    factors: &'a [u8],
}

impl<'a> Block<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { scales: &bytes[..16], codes: &bytes[16..80], factors: &bytes[80..84] }
    }

    fn code(&self, k: usize) -> u8 {
        let (half, quarter, i) = (k / 128, k % 128 / 32, k % 32);
        self.codes[half * 32 + i] >> (2 * quarter) & 3
    }
}

fn pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (packed, block) in strip.chunks_exact_mut(rows * BLOCK_BYTES).zip(blocks) {
        let (d, dmin) = (2 * r, 2 * (rows + r));
        packed[d..d + 2].copy_from_slice(&block.factors[..2]);
        packed[dmin..dmin + 2].copy_from_slice(&block.factors[2..]);
        let groups = packed[4 * rows..].chunks_exact_mut(rows * GROUP_BYTES);
        for (g, group) in groups.enumerate() {
            group[2 * r..2 * r + 2].copy_from_slice(&block.scales[2 * g..2 * g + 2]);
            let section = &mut group[2 * rows..];
            codes::put::<2, 0>(layout, r, section, |k| block.code(g * GROUP + k));
        }
    }
}

fn unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let blocks = strip.chunks_exact(rows * BLOCK_BYTES).skip(k0 / BLOCK);
    for (packed, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let (d, dmin) = (f16_at(packed, r), f16_at(packed, rows + r));
        let groups = packed[4 * rows..].chunks_exact(rows * GROUP_BYTES);
        for (group, out) in groups.zip(out.chunks_mut(GROUP)) {
            for (k, out) in out.iter_mut().enumerate() {
                let code = codes::get::<2, 0>(layout, r, &group[2 * rows..], k);
                *out = value(code, group[2 * r + k / 16], d, dmin);
            }
        }
    }
}

fn dequantise_row(row: &[u8], out: &mut [f32]) {
    let blocks = row.chunks_exact(BLOCK_BYTES).map(Block::new);
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let (d, dmin) = (f16_at(block.factors, 0), f16_at(block.factors, 1));
        for (k, out) in out.iter_mut().enumerate() {
            *out = value(block.code(k), block.scales[k / 16], d, dmin);
        }
    }
}

fn value(code: u8, scale: u8, d: f32, dmin: f32) -> f32 {
    d * f32::from(scale & 15) * f32::from(code) - dmin * f32::from(scale >> 4)
}
