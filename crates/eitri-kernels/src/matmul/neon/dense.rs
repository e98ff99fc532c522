//! Unquantised weights times f32 activations.

use std::arch::aarch64::{
    float32x4_t, vdupq_n_f32, vfmaq_n_f32, vld1_u16, vld1q_f32, vreinterpretq_f32_u32, vshll_n_u16,
};

use super::{ROWS, StripCall, TILE, VECTORS, checked, load_f16, store};
use crate::matmul::tiles;

const F32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;

/// `F32` weights.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn f32(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, 4 * ROWS * call.k, 0, out);
    multiply::<F32>(call, out);
}

/// `F16` weights.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn f16(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, 2 * ROWS * call.k, 0, out);
    multiply::<F16>(call, out);
}

/// `Bf16` weights.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn bf16(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, 2 * ROWS * call.k, 0, out);
    multiply::<BF16>(call, out);
}

#[target_feature(enable = "neon,dotprod")]
fn multiply<const FORMAT: u8>(call: &StripCall<'_>, out: &mut [f32]) {
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
    let mut acc = [[vdupq_n_f32(0.0); VECTORS]; M];
    // SAFETY: the rows exist and the strip holds k values of each of its rows.
    unsafe {
        let x: [*const f32; M] = std::array::from_fn(|m| {
            call.values.as_ptr().add(call.rows[start + m] as usize * call.k)
        });
        for k in 0..call.k {
            let w = weights::<FORMAT>(call.strip.as_ptr(), k);
            for m in 0..M {
                let x = *x[m].add(k);
                for v in 0..VECTORS {
                    acc[m][v] = vfmaq_n_f32(acc[m][v], w[v], x);
                }
            }
        }
    }
    store(&acc, start, out);
}

/// The weights of all rows for one k.
#[target_feature(enable = "neon,dotprod")]
unsafe fn weights<const FORMAT: u8>(strip: *const u8, k: usize) -> [float32x4_t; VECTORS] {
    let bytes = if FORMAT == F32 { 4 } else { 2 };
    let mut w = [vdupq_n_f32(0.0); VECTORS];
    for v in 0..VECTORS {
        // SAFETY: the caller's strip holds value k.
        unsafe {
            let p = strip.add(bytes * (ROWS * k + 4 * v));
            w[v] = match FORMAT {
                F32 => vld1q_f32(p.cast()),
                F16 => load_f16(p),
                _ => vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p.cast()))),
            };
        }
    }
    w
}
