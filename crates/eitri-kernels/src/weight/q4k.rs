//! `Q4K` and `Q5K`: ggml's `block_q4_K` and `block_q5_K`, 256 values of 4 or 5 bits; a 6-bit scale
//! and a 6-bit minimum per 32, an f16 factor for each per 256. Layout of the file's blocks:
//! `ggml/src/ggml-common.h`, `dequantize_row_q4_K` and `dequantize_row_q5_K` of ggml.
//!
//! Strip block: the f16 factors of scales, then of minima, of all rows; for each group of 32 the low
//! 4 bits of scale and minimum of each row in a byte; for each two groups the high 2 bits of both,
//! those of the second group in the upper half of a byte; then for each group its codes in a section
//! of 4 and one of 1 bit (`Q5K`). The byte count does not change.

use super::{FormatSpec, GROUP, Layout, codes, f16_at};

pub(super) static Q4K: FormatSpec = FormatSpec {
    name: "q4_k",
    group: BLOCK,
    row_bytes: |k| k / BLOCK * block_bytes::<0>(),
    strip_bytes: |layout, k| k / BLOCK * block_bytes::<0>() * layout.rows(),
    pack_row: pack_row::<0>,
    pack_strip: None,
    unpack: unpack::<0>,
    dequantise_row: dequantise_row::<0>,
};

pub(super) static Q5K: FormatSpec = FormatSpec {
    name: "q5_k",
    group: BLOCK,
    row_bytes: |k| k / BLOCK * block_bytes::<1>(),
    strip_bytes: |layout, k| k / BLOCK * block_bytes::<1>() * layout.rows(),
    pack_row: pack_row::<1>,
    pack_strip: None,
    unpack: unpack::<1>,
    dequantise_row: dequantise_row::<1>,
};

const BLOCK: usize = 256;
/// Bytes of a row's factors, scales and minima.
const HEAD: usize = 16;
/// Groups of 32 in a block.
const GROUPS: usize = BLOCK / GROUP;

const fn group_bytes<const HIGH: usize>() -> usize {
    GROUP * (4 + HIGH) / 8
}

const fn block_bytes<const HIGH: usize>() -> usize {
    HEAD + GROUPS * group_bytes::<HIGH>()
}

/// The parts of one canonical block.
struct Block<'a> {
    factors: &'a [u8],
    scales: &'a [u8],
    high: &'a [u8],
    low: &'a [u8],
}

impl<'a> Block<'a> {
    fn new<const HIGH: usize>(bytes: &'a [u8]) -> Self {
        let (factors, rest) = bytes.split_at(4);
        let (scales, rest) = rest.split_at(12);
        let (high, low) = rest.split_at(32 * HIGH);
        Self { factors, scales, high, low }
    }

    /// Scale and minimum of a group, 0 to 63 each.
    fn parameters(&self, group: usize) -> (u8, u8) {
        let s = self.scales;
        if group < 4 {
            return (s[group] & 63, s[group + 4] & 63);
        }
        let (low, scale, min) = (s[group + 4], s[group - 4], s[group]);
        (low & 15 | scale >> 6 << 4, low >> 4 | min >> 6 << 4)
    }

    fn code(&self, group: usize, k: usize) -> u8 {
        let low = self.low[group / 2 * GROUP + k] >> (4 * (group % 2)) & 15;
        let high = self.high.get(k).map_or(0, |bits| bits >> group & 1);
        low | high << 4
    }
}

/// Places of the low and of the high bits of a group's scale and minimum in a block of a strip.
fn parameters_at(rows: usize, r: usize, group: usize) -> (usize, usize) {
    ((4 + group) * rows + r, (12 + group / 2) * rows + r)
}

fn pack_row<const HIGH: usize>(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let blocks = row.chunks_exact(block_bytes::<HIGH>()).map(Block::new::<HIGH>);
    for (packed, block) in strip.chunks_exact_mut(rows * block_bytes::<HIGH>()).zip(blocks) {
        let (d, dmin) = (2 * r, 2 * (rows + r));
        packed[d..d + 2].copy_from_slice(&block.factors[..2]);
        packed[dmin..dmin + 2].copy_from_slice(&block.factors[2..]);
        for g in 0..GROUPS {
            let (scale, min) = block.parameters(g);
            let (low, high) = parameters_at(rows, r, g);
            packed[low] = scale & 15 | (min & 15) << 4;
            packed[high] |= (scale >> 4 | min >> 4 << 2) << (4 * (g % 2));
        }
        let groups = packed[HEAD * rows..].chunks_exact_mut(rows * group_bytes::<HIGH>());
        for (g, group) in groups.enumerate() {
            codes::put::<4, HIGH>(layout, r, group, |k| block.code(g, k));
        }
    }
}

fn unpack<const HIGH: usize>(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let blocks = strip.chunks_exact(rows * block_bytes::<HIGH>()).skip(k0 / BLOCK);
    for (packed, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let (d, dmin) = (f16_at(packed, r), f16_at(packed, rows + r));
        let groups = packed[HEAD * rows..].chunks_exact(rows * group_bytes::<HIGH>());
        for (g, (group, out)) in groups.zip(out.chunks_mut(GROUP)).enumerate() {
            let (low, high) = parameters_at(rows, r, g);
            let (low, high) = (packed[low], packed[high] >> (4 * (g % 2)));
            let (scale, min) = (low & 15 | (high & 3) << 4, low >> 4 | (high >> 2 & 3) << 4);
            for (k, out) in out.iter_mut().enumerate() {
                let code = codes::get::<4, HIGH>(layout, r, group, k);
                *out = value(code, (scale, min), d, dmin);
            }
        }
    }
}

fn dequantise_row<const HIGH: usize>(row: &[u8], out: &mut [f32]) {
    let blocks = row.chunks_exact(block_bytes::<HIGH>()).map(Block::new::<HIGH>);
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let (d, dmin) = (f16_at(block.factors, 0), f16_at(block.factors, 1));
        for (g, out) in out.chunks_mut(GROUP).enumerate() {
            for (k, out) in out.iter_mut().enumerate() {
                *out = value(block.code(g, k), block.parameters(g), d, dmin);
            }
        }
    }
}

fn value(code: u8, (scale, min): (u8, u8), d: f32, dmin: f32) -> f32 {
    d * f32::from(scale) * f32::from(code) - dmin * f32::from(min)
}
