//! `Mxfp4`: e2m1 codes with a power of two (e8m0) per 32, as in the OCP Microscaling formats.
//!
//! Strip group: the exponents of all rows, then the codes. Codes stand for twice their value
//! ([`DOUBLED`]), which is an integer, and exponents for half of theirs.

use super::{FormatSpec, GROUP, Layout, codes, int4::put_nibbles};

pub(super) static MXFP4: FormatSpec = FormatSpec {
    name: "mxfp4",
    group: GROUP,
    row_bytes: |k| k / GROUP * GROUP_BYTES,
    strip_bytes: |layout, k| k / GROUP * layout.rows() * GROUP_BYTES,
    pack_row,
    pack_strip: None,
    unpack,
    dequantise_row,
};

/// Twice the values of e2m1.
pub(crate) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

const GROUP_BYTES: usize = 17;

/// 2^(exponent - 128).
fn half_scale(exponent: u8) -> f32 {
    let exponent = u32::from(exponent);
    // The two smallest powers are below the least normal number.
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 })
}

/// Code 8 is minus zero.
fn value(code: u8, scale: f32) -> f32 {
    let magnitude = scale * f32::from(DOUBLED[usize::from(code & 7)]);
    if code & 8 == 0 { magnitude } else { -magnitude }
}

fn pack_row(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    let rows = layout.rows();
    let (stored, exponents) = row.split_at(row.len() / GROUP_BYTES * 16);
    for (g, group) in strip.chunks_exact_mut(rows * GROUP_BYTES).enumerate() {
        group[r] = exponents[g];
        put_nibbles(layout, r, &stored[16 * g..16 * (g + 1)], &mut group[rows..]);
    }
}

fn unpack(layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
    let rows = layout.rows();
    let groups = strip.chunks_exact(rows * GROUP_BYTES).skip(k0 / GROUP);
    for (group, out) in groups.zip(out.chunks_mut(GROUP)) {
        let scale = half_scale(group[r]);
        for (k, out) in out.iter_mut().enumerate() {
            *out = value(codes::get::<4, 0>(layout, r, &group[rows..], k), scale);
        }
    }
}

fn dequantise_row(row: &[u8], out: &mut [f32]) {
    let (stored, exponents) = row.split_at(out.len() / 2);
    for (k, out) in out.iter_mut().enumerate() {
        let code = stored[k / 2] >> (4 * (k % 2)) & 15;
        *out = value(code, half_scale(exponents[k / GROUP]));
    }
}
