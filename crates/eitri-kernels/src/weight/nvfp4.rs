//! `Nvfp4`: E2M1 codes with an E4M3 scale per 16 and an f32 scale per row, as `ModelOpt` and
//! compressed-tensors write NVFP4.
//!
//! Canonical row: k/2 bytes of codes (low nibble first), k/16 scales, the row's scale. A strip
//! begins with the scales of its rows; each group of 32 k has the scales of its first 16 k for every
//! row, those of the other 16, then the codes.

use super::{FormatSpec, GROUP, Layout, codes, minifloat};

pub(super) static NVFP4: FormatSpec = FormatSpec {
    name: "nvfp4",
    group: GROUP,
    row_bytes: |k| k / GROUP * GROUP_BYTES + 4,
    strip_bytes: |layout, k| layout.rows() * (k / GROUP * GROUP_BYTES + 4),
    pack_row,
    pack_strip: None,
    unpack,
    dequantise_row,
};

/// Values that share a scale.
const BLOCK: usize = 16;
/// Bytes of 32 k of a row: two scales and the codes.
const GROUP_BYTES: usize = 2 + GROUP / 2;

fn pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let groups = (row.len() - 4) / GROUP_BYTES;
    let (stored, rest) = row.split_at(groups * GROUP / 2);
    let (scales, whole) = rest.split_at(groups * 2);
    let (header, body) = strip.split_at_mut(4 * rows);
    header[4 * r..4 * r + 4].copy_from_slice(whole);
    for (g, group) in body.chunks_exact_mut(rows * GROUP_BYTES).enumerate() {
        (group[r], group[rows + r]) = (scales[2 * g], scales[2 * g + 1]);
        codes::put::<4, 0>(layout, r, &mut group[2 * rows..], |k| {
            let k = g * GROUP + k;
            stored[k / 2] >> (4 * (k % 2)) & 15
        });
    }
}

fn unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let (header, body) = strip.split_at(4 * rows);
    let whole = row_scale(&header[4 * r..]);
    let groups = body.chunks_exact(rows * GROUP_BYTES).skip(k0 / GROUP);
    for (group, out) in groups.zip(out.chunks_mut(GROUP)) {
        let scales = [group[r], group[rows + r]].map(|scale| minifloat::e4m3(scale) * whole);
        for (k, value) in out.iter_mut().enumerate() {
            let code = codes::get::<4, 0>(layout, r, &group[2 * rows..], k);
            *value = minifloat::e2m1(code) * scales[k / BLOCK];
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
