//! `Nvfp4`: E2M1 codes with an E4M3 scale per 16 and an f32 scale per row, as `ModelOpt` and
//! compressed-tensors write NVFP4.
//!
//! Canonical row: k/2 bytes of codes (low nibble first), k/16 scales, the row's scale. A strip
//! begins with the scales of its rows; each group of 16 k has a scale byte of every row, then for
//! each pair of k a byte of every row with the even k in the low nibble.

use super::{FormatSpec, GROUP, Layout, minifloat};

pub(super) static NVFP4: FormatSpec = FormatSpec {
    name: "nvfp4",
    group: GROUP,
    row_bytes: |k| k / BLOCK * BLOCK_BYTES + 4,
    strip_bytes: |layout, k| layout.rows() * (k / BLOCK * BLOCK_BYTES + 4),
    pack_row,
    pack_strip: None,
    unpack,
    dequantise_row,
};

/// Values that share a scale.
pub(crate) const BLOCK: usize = 16;
/// Bytes of a row's block: scale and codes.
const BLOCK_BYTES: usize = 1 + BLOCK / 2;

fn pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let blocks = (row.len() - 4) / BLOCK_BYTES;
    let (codes, rest) = row.split_at(blocks * BLOCK / 2);
    let (scales, whole) = rest.split_at(blocks);
    let (header, body) = strip.split_at_mut(4 * rows);
    header[4 * r..4 * r + 4].copy_from_slice(whole);
    for (b, block) in body.chunks_exact_mut(rows * BLOCK_BYTES).enumerate() {
        block[r] = scales[b];
        for pair in 0..BLOCK / 2 {
            block[(1 + pair) * rows + r] = codes[b * BLOCK / 2 + pair];
        }
    }
}

fn unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let (header, body) = strip.split_at(4 * rows);
    let whole = row_scale(&header[4 * r..]);
    let blocks = body.chunks_exact(rows * BLOCK_BYTES).skip(k0 / BLOCK);
    for (block, out) in blocks.zip(out.chunks_mut(BLOCK)) {
        let scale = minifloat::e4m3(block[r]) * whole;
        for (k, value) in out.iter_mut().enumerate() {
            let code = block[(1 + k / 2) * rows + r] >> (4 * (k % 2)) & 15;
            *value = minifloat::e2m1(code) * scale;
        }
    }
}

fn dequantise_row(row: &[u8], out: &mut [f32]) {
    let (codes, rest) = row.split_at(out.len() / 2);
    let (scales, whole) = rest.split_at(out.len() / BLOCK);
    let whole = row_scale(whole);
    for (k, value) in out.iter_mut().enumerate() {
        let code = codes[k / 2] >> (4 * (k % 2)) & 15;
        *value = minifloat::e2m1(code) * (minifloat::e4m3(scales[k / BLOCK]) * whole);
    }
}

fn row_scale(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
