//! `U5` and `U5Min`: unsigned 5-bit codes in groups of 32, with an implied zero of 16 or an explicit
//! minimum.
//!
//! Strip group: the f16 scales of all rows, the f16 minima of all rows (`U5Min`), then the codes in
//! a section of 4 and one of 1 bit.

use super::{FormatSpec, GROUP, Layout, codes, f16_at};

pub(super) static U5: FormatSpec = FormatSpec {
    name: "u5 g32",
    group: GROUP,
    row_bytes: |k| k / GROUP * group_bytes::<1>(),
    strip_bytes: |layout, k| k / GROUP * layout.rows() * group_bytes::<1>(),
    pack_row: pack_row::<1>,
    pack_strip: None,
    unpack: unpack::<1>,
    dequantise_row: dequantise_row::<1>,
};

pub(super) static U5_MIN: FormatSpec = FormatSpec {
    name: "u5+min g32",
    group: GROUP,
    row_bytes: |k| k / GROUP * group_bytes::<2>(),
    strip_bytes: |layout, k| k / GROUP * layout.rows() * group_bytes::<2>(),
    pack_row: pack_row::<2>,
    pack_strip: None,
    unpack: unpack::<2>,
    dequantise_row: dequantise_row::<2>,
};

/// Bytes of the codes of a row's group.
const CODES: usize = GROUP / 2 + GROUP / 8;

const fn group_bytes<const PARAMETERS: usize>() -> usize {
    CODES + 2 * PARAMETERS
}

/// The parts of a canonical row: low bits, high bits, scales and minima of all its groups.
struct Row<'a> {
    low: &'a [u8],
    high: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Row<'a> {
    fn new(bytes: &'a [u8], groups: usize) -> Self {
        let (low, rest) = bytes.split_at(groups * GROUP / 2);
        let (high, parameters) = rest.split_at(groups * GROUP / 8);
        Self { low, high, parameters }
    }

    fn code(&self, k: usize) -> u8 {
        let low = self.low[k / 2] >> (4 * (k % 2)) & 15;
        low | (self.high[k / 8] >> (k % 8) & 1) << 4
    }
}

fn value<const PARAMETERS: usize>(code: u8, scale: f32, min: impl Fn() -> f32) -> f32 {
    if PARAMETERS == 2 { f32::from(code) * scale + min() } else { (f32::from(code) - 16.0) * scale }
}

fn pack_row<const PARAMETERS: usize>(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let groups = row.len() / group_bytes::<PARAMETERS>();
    let row = Row::new(row, groups);
    let blocks = strip.chunks_exact_mut(rows * group_bytes::<PARAMETERS>());
    for (g, block) in blocks.enumerate() {
        for p in 0..PARAMETERS {
            let (from, to) = (2 * (p * groups + g), 2 * (p * rows + r));
            block[to..to + 2].copy_from_slice(&row.parameters[from..from + 2]);
        }
        let sections = &mut block[2 * PARAMETERS * rows..];
        codes::put::<4, 1>(layout, r, sections, |k| row.code(g * GROUP + k));
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
    let blocks = strip.chunks_exact(rows * group_bytes::<PARAMETERS>()).skip(k0 / GROUP);
    for (block, out) in blocks.zip(out.chunks_mut(GROUP)) {
        let (scale, sections) = (f16_at(block, r), &block[2 * PARAMETERS * rows..]);
        for (k, out) in out.iter_mut().enumerate() {
            let code = codes::get::<4, 1>(layout, r, sections, k);
            *out = value::<PARAMETERS>(code, scale, || f16_at(block, rows + r));
        }
    }
}

fn dequantise_row<const PARAMETERS: usize>(row: &[u8], out: &mut [f32]) {
    let groups = out.len() / GROUP;
    let row = Row::new(row, groups);
    for (k, out) in out.iter_mut().enumerate() {
        let (g, parameters) = (k / GROUP, row.parameters);
        let min = || f16_at(parameters, groups + g);
        *out = value::<PARAMETERS>(row.code(k), f16_at(parameters, g), min);
    }
}
