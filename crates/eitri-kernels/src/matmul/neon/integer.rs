//! `I8`, `U4` and `U4Min` weights times 8-bit activations.

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vandq_u8, vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, vfmaq_f32,
    vfmaq_n_f32, vld1q_u8, vmulq_n_f32, vreinterpretq_s8_s32, vreinterpretq_s8_u8, vshrq_n_u8,
    vsubq_f32,
};

use super::{ROWS, StripCall, TILE, VECTORS, checked, load_f16, prepare::RECORD, store};
use crate::{matmul::tiles, weight::GROUP};

const I8: u8 = 0;
const U4: u8 = 1;
const U4_MIN: u8 = 2;

/// `I8` weights.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn i8(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<I8>(call, out);
}

/// `U4` weights.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn u4(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<U4>(call, out);
}

/// `U4Min` weights.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn u4_min(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<U4_MIN>(call, out);
}

/// Bytes of scales and minima of a group.
const fn parameter_bytes(format: u8) -> usize {
    if format == U4_MIN { 4 * ROWS } else { 2 * ROWS }
}

/// Bytes of a group of 32 in a strip.
const fn block_bytes(format: u8) -> usize {
    parameter_bytes(format) + ROWS * if format == I8 { GROUP } else { GROUP / 2 }
}

#[target_feature(enable = "neon,dotprod")]
fn multiply<const FORMAT: u8>(call: &StripCall<'_>, out: &mut [f32]) {
    let groups = call.k / GROUP;
    checked(call, groups * block_bytes(FORMAT), groups * RECORD, out);
    tiles(call.rows.len(), TILE, |start, size| {
        // SAFETY: sizes are checked; `start + size` is at most the number of rows.
        unsafe {
            match size {
                1 => tile::<FORMAT, 1>(call, start, out),
                2 => tile::<FORMAT, 2>(call, start, out),
                3 => tile::<FORMAT, 3>(call, start, out),
                _ => tile::<FORMAT, TILE>(call, start, out),
            }
        }
    });
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const FORMAT: u8, const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    out: &mut [f32],
) {
    let groups = call.k / GROUP;
    let mut acc = [[vdupq_n_f32(0.0); VECTORS]; M];
    // SAFETY: the strip holds `groups` groups and each row as many records.
    unsafe {
        let mut records: [*const u8; M] = std::array::from_fn(|m| {
            call.records.as_ptr().add(call.rows[start + m] as usize * groups * RECORD)
        });
        for g in 0..groups {
            let block = call.strip.as_ptr().add(g * block_bytes(FORMAT));
            let mut sums = [[vdupq_n_s32(0); VECTORS]; M];
            for k in 0..GROUP / 4 {
                let w = codes::<FORMAT>(block.add(parameter_bytes(FORMAT)), k);
                for m in 0..M {
                    let x = records[m].add(4 * k).cast::<i32>().read_unaligned();
                    let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
                    for v in 0..VECTORS {
                        sums[m][v] = dot(sums[m][v], w[v], x);
                    }
                }
            }
            for m in 0..M {
                let d = records[m].add(32).cast::<f32>().read_unaligned();
                let offset = records[m].add(36).cast::<f32>().read_unaligned();
                for v in 0..VECTORS {
                    let scale = load_f16(block.add(8 * v));
                    let mut sum = vmulq_n_f32(vcvtq_f32_s32(sums[m][v]), d);
                    if FORMAT == U4 {
                        sum = vsubq_f32(sum, vdupq_n_f32(offset));
                    }
                    if FORMAT == U4_MIN {
                        let min = load_f16(block.add(2 * ROWS + 8 * v));
                        acc[m][v] = vfmaq_n_f32(acc[m][v], min, offset);
                    }
                    acc[m][v] = vfmaq_f32(acc[m][v], sum, scale);
                }
                records[m] = records[m].add(RECORD);
            }
        }
    }
    store(&acc, start, out);
}

/// Adds the products of four bytes to each lane. The intrinsic for it is not stable yet.
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the dot-product extension is there; no memory access.
    unsafe {
        std::arch::asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(nomem, nostack, pure, preserves_flags),
        );
    }
    sums
}

/// Four consecutive k, the `k`-th of eight, of all rows: four rows to a vector.
#[target_feature(enable = "neon,dotprod")]
unsafe fn codes<const FORMAT: u8>(codes: *const u8, k: usize) -> [int8x16_t; VECTORS] {
    let mut w = [vreinterpretq_s8_u8(vdupq_n_u8(0)); VECTORS];
    for v in 0..VECTORS {
        let (half, quarter) = (v / 2, v % 2);
        // SAFETY: within the caller's group.
        let bytes = unsafe {
            if FORMAT == I8 {
                vld1q_u8(codes.add(half * 8 * GROUP + 32 * k + 16 * quarter))
            } else {
                let cells = vld1q_u8(codes.add(half * 4 * GROUP + 32 * (k / 2) + 16 * quarter));
                if k.is_multiple_of(2) {
                    vandq_u8(cells, vdupq_n_u8(15))
                } else {
                    vshrq_n_u8::<4>(cells)
                }
            }
        };
        w[v] = vreinterpretq_s8_u8(bytes);
    }
    w
}
