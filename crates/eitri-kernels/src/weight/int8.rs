//! `I8`: signed 8-bit codes with one f16 scale per 32.
//!
//! Strip group: the scales of all rows, then 8 vectors per half. The four bytes of a cell are k
//! 0, 2, 1, 3, so that the even and the odd bytes of a vector each widen to 16-bit pairs of
//! neighbouring k with shifts alone.

use super::{
    FormatSpec, GROUP, Layout, f16_at,
    strip::{put_cells, put_parameters},
};

pub(super) static I8: FormatSpec = FormatSpec {
    name: "i8 g32",
    group: GROUP,
    row_bytes: |k| k + k / GROUP * 2,
    strip_bytes: |layout, k| k / GROUP * block_bytes(layout),
    pack_row,
    pack_strip: Some(pack_strip),
    unpack,
    dequantise_row,
};

/// Place of k 0, 1, 2, 3 in a cell, and the k at place 0, 1, 2, 3.
const ORDER: [usize; 4] = [0, 2, 1, 3];

fn block_bytes(layout: Layout) -> usize {
    layout.rows() * (2 + GROUP)
}

fn code_at(layout: Layout, r: usize, k: usize) -> usize {
    2 * layout.rows() + cell_byte(layout, r, k)
}

/// Place of code `k` of row `r` in a section of 8-bit codes.
pub(super) fn cell_byte(layout: Layout, r: usize, k: usize) -> usize {
    layout.cell(r, GROUP / 4, k / 4) + ORDER[k % 4]
}

/// Writes the codes of row `r` into a section.
pub(super) fn put_bytes(layout: Layout, r: usize, codes: &[u8], section: &mut [u8]) {
    for (vector, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
        let at = layout.cell(r, GROUP / 4, vector);
        section[at..at + 4].copy_from_slice(&ORDER.map(|k| codes[k]));
    }
}

fn pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let groups = row.len() / (GROUP + 2);
    let (codes, scales) = row.split_at(groups * GROUP);
    for (g, block) in strip.chunks_exact_mut(block_bytes(layout)).enumerate() {
        block[2 * r..2 * r + 2].copy_from_slice(&scales[2 * g..2 * g + 2]);
        let section = &mut block[2 * layout.rows()..];
        put_bytes(layout, r, &codes[g * GROUP..(g + 1) * GROUP], section);
    }
}

/// Four codes as a cell.
pub(super) fn cell(codes: u32) -> u32 {
    codes & 0xFF00_00FF | codes >> 8 & 0xFF00 | (codes & 0xFF00) << 8
}

fn pack_strip(layout: Layout, rows: &[&[u8]], strip: &mut [u8]) {
    let groups = rows[0].len() / (GROUP + 2);
    for (g, block) in strip.chunks_exact_mut(block_bytes(layout)).enumerate() {
        let (scales, section) = block.split_at_mut(2 * rows.len());
        put_parameters(rows, groups * GROUP + 2 * g, 2, scales);
        put_cells::<{ GROUP / 4 }>(layout, rows, g * GROUP, section, cell);
    }
}

fn unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let blocks = strip.chunks_exact(block_bytes(layout)).skip(k0 / GROUP);
    for (block, out) in blocks.zip(out.chunks_mut(GROUP)) {
        let scale = f16_at(block, r);
        for (k, value) in out.iter_mut().enumerate() {
            *value = f32::from(block[code_at(layout, r, k)] as i8) * scale;
        }
    }
}

fn dequantise_row(row: &[u8], out: &mut [f32]) {
    let (codes, scales) = row.split_at(out.len());
    for (k, value) in out.iter_mut().enumerate() {
        *value = f32::from(codes[k] as i8) * f16_at(scales, k / GROUP);
    }
}
