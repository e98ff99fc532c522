//! Unquantised rows: `F32`, `F16`, `Bf16`.
//!
//! A strip holds, for each k, the value of every row.

use half::{bf16, f16};

use super::{
    FormatSpec, Layout,
    strip::{put_halves, put_singles},
};

pub(super) static F32: FormatSpec = FormatSpec {
    name: "f32",
    group: 1,
    row_bytes: |k| 4 * k,
    strip_bytes: |layout, k| 4 * k * layout.rows(),
    pack_row: |layout, row, r, strip| pack_single::<4>(layout, row, r, strip),
    pack_strip: Some(put_singles),
    unpack: |layout, strip, r, k0, out| {
        unpack_single(layout, strip, r, k0, out, f32::from_le_bytes);
    },
    dequantise_row: |row, out| widen(row, out, f32::from_le_bytes),
};

pub(super) static F16: FormatSpec = FormatSpec {
    name: "f16",
    group: 1,
    row_bytes: |k| 2 * k,
    strip_bytes: |layout, k| 2 * k * layout.rows(),
    pack_row: |layout, row, r, strip| pack_single::<2>(layout, row, r, strip),
    pack_strip: Some(put_halves),
    unpack: |layout, strip, r, k0, out| {
        unpack_single(layout, strip, r, k0, out, |b| f16::from_le_bytes(b).to_f32());
    },
    dequantise_row: |row, out| widen(row, out, |b| f16::from_le_bytes(b).to_f32()),
};

pub(super) static BF16: FormatSpec = FormatSpec {
    name: "bf16",
    group: 1,
    row_bytes: |k| 2 * k,
    strip_bytes: |layout, k| 2 * k * layout.rows(),
    pack_row: |layout, row, r, strip| pack_single::<2>(layout, row, r, strip),
    pack_strip: Some(put_halves),
    unpack: |layout, strip, r, k0, out| {
        unpack_single(layout, strip, r, k0, out, |b| bf16::from_le_bytes(b).to_f32());
    },
    dequantise_row: |row, out| widen(row, out, |b| bf16::from_le_bytes(b).to_f32()),
};

fn pack_single<const BYTES: usize>(layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
    for (k, value) in row.as_chunks::<BYTES>().0.iter().enumerate() {
        let at = BYTES * (k * layout.rows() + r);
        strip[at..at + BYTES].copy_from_slice(value);
    }
}

fn unpack_single<const BYTES: usize>(
    layout: Layout,
    strip: &[u8],
    r: usize,
    k0: usize,
    out: &mut [f32],
    decode: impl Fn([u8; BYTES]) -> f32,
) {
    let cells = strip.as_chunks::<BYTES>().0;
    for (k, value) in out.iter_mut().enumerate() {
        *value = decode(cells[(k0 + k) * layout.rows() + r]);
    }
}

fn widen<const BYTES: usize>(row: &[u8], out: &mut [f32], decode: impl Fn([u8; BYTES]) -> f32) {
    for (value, bytes) in out.iter_mut().zip(row.as_chunks::<BYTES>().0) {
        *value = decode(*bytes);
    }
}
