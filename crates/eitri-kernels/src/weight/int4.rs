//! `U4` and `U4Min`: unsigned 4-bit codes in groups of 32, with an implied zero of 8 or an explicit
//! minimum.
//!
//! Strip group: the f16 scales of all rows, the f16 minima of all rows (`U4Min`), then 4 vectors
//! per half. The low nibble of byte b of vector s is k = 8s + b, the high nibble k = 8s + 4 + b.

use super::{
    FormatSpec, GROUP, Layout, f16_at,
    strip::{put_cells, put_parameters},
};

pub(super) static U4: FormatSpec = FormatSpec {
    name: "u4 g32",
    group: GROUP,
    row_bytes: |k| k / GROUP * 18,
    strip_bytes: |layout, k| k / GROUP * layout.rows() * 18,
    pack_row: pack_row::<1>,
    pack_strip: Some(pack_strip::<1>),
    unpack: unpack::<1>,
    dequantise_row: dequantise_row::<1>,
};

pub(super) static U4_MIN: FormatSpec = FormatSpec {
    name: "u4+min g32",
    group: GROUP,
    row_bytes: |k| k / GROUP * 20,
    strip_bytes: |layout, k| k / GROUP * layout.rows() * 20,
    pack_row: pack_row::<2>,
    pack_strip: Some(pack_strip::<2>),
    unpack: unpack::<2>,
    dequantise_row: dequantise_row::<2>,
};

/// Byte and shift of code `k` of row `r` in a section of 4-bit codes.
pub(super) fn nibble_at(layout: Layout, r: usize, k: usize) -> (usize, u32) {
    let vector = k / 4;
    (layout.cell(r, GROUP / 8, vector / 2) + k % 4, 4 * (vector % 2) as u32)
}

/// Writes the codes of row `r`, two to a byte as in a canonical row, into a section.
pub(super) fn put_nibbles(layout: Layout, r: usize, codes: &[u8], section: &mut [u8]) {
    for (vector, &codes) in codes.as_chunks::<4>().0.iter().enumerate() {
        let at = layout.cell(r, GROUP / 8, vector);
        section[at..at + 4].copy_from_slice(&cell(u32::from_le_bytes(codes)).to_le_bytes());
    }
}

/// The eight nibbles of `codes` as a cell: the first four in the low halves of its bytes.
pub(super) fn cell(codes: u32) -> u32 {
    let spread = |nibbles: u32| {
        let bytes = (nibbles | nibbles << 8) & 0x00FF_00FF;
        (bytes | bytes << 4) & 0x0F0F_0F0F
    };
    spread(codes & 0xFFFF) | spread(codes >> 16) << 4
}

fn value<const PARAMETERS: usize>(code: u8, scale: f32, min: impl Fn() -> f32) -> f32 {
    if PARAMETERS == 2 { f32::from(code) * scale + min() } else { (f32::from(code) - 8.0) * scale }
}

fn pack_row<const PARAMETERS: usize>(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let (code_bytes, parameter_bytes) = (GROUP / 2, 2 * PARAMETERS);
    let groups = row.len() / (code_bytes + parameter_bytes);
    let (codes, parameters) = row.split_at(groups * code_bytes);
    let blocks = strip.chunks_exact_mut(rows * (code_bytes + parameter_bytes));
    for (g, block) in blocks.enumerate() {
        for p in 0..PARAMETERS {
            let (from, to) = (2 * (p * groups + g), 2 * (p * rows + r));
            block[to..to + 2].copy_from_slice(&parameters[from..from + 2]);
        }
        let section = &mut block[2 * PARAMETERS * rows..];
        put_nibbles(layout, r, &codes[g * code_bytes..(g + 1) * code_bytes], section);
    }
}

fn pack_strip<const PARAMETERS: usize>(layout: Layout, rows: &[&[u8]], strip: &mut [u8]) {
    let (code_bytes, parameter_bytes) = (GROUP / 2, 2 * PARAMETERS);
    let groups = rows[0].len() / (code_bytes + parameter_bytes);
    let blocks = strip.chunks_exact_mut(rows.len() * (code_bytes + parameter_bytes));
    for (g, block) in blocks.enumerate() {
        let (head, section) = block.split_at_mut(rows.len() * parameter_bytes);
        for (p, head) in head.chunks_exact_mut(2 * rows.len()).enumerate() {
            put_parameters(rows, groups * code_bytes + 2 * (p * groups + g), 2, head);
        }
        put_cells::<{ GROUP / 8 }>(layout, rows, g * code_bytes, section, cell);
    }
}

fn unpack<const PARAMETERS: usize>(
    layout: Layout,
    strip: &[u8],
    r: usize,
    k0: usize,
    out: &mut [f32],
) {
    let rows = layout.rows();
    let blocks = strip.chunks_exact(rows * (GROUP / 2 + 2 * PARAMETERS)).skip(k0 / GROUP);
    for (block, out) in blocks.zip(out.chunks_mut(GROUP)) {
        let section = &block[2 * PARAMETERS * rows..];
        for (k, out) in out.iter_mut().enumerate() {
            let (at, shift) = nibble_at(layout, r, k);
            let code = section[at] >> shift & 15;
            *out = value::<PARAMETERS>(code, f16_at(block, r), || f16_at(block, rows + r));
        }
    }
}

fn dequantise_row<const PARAMETERS: usize>(row: &[u8], out: &mut [f32]) {
    let groups = out.len() / GROUP;
    let (codes, parameters) = row.split_at(out.len() / 2);
    for (k, out) in out.iter_mut().enumerate() {
        let code = codes[k / 2] >> (4 * (k % 2)) & 15;
        let g = k / GROUP;
        *out = value::<PARAMETERS>(code, f16_at(parameters, g), || f16_at(parameters, groups + g));
    }
}
