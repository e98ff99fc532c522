//! Unquantised weights times f32 activations.

use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps};

use super::{LANES, ROWS, checked, grouped::load_bf16, prefetch, row_f16, store, sums};
use crate::matmul::{StripCall, tiles};

/// Rows of activations per tile: with two halves, twenty-four registers of sums.
const TILE: usize = 12;

pub(super) const F32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;

/// `F32` weights.
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn f32(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<F32>(call, out);
}

/// `F16` weights.
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn f16(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<F16>(call, out);
}

/// `Bf16` weights.
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn bf16(call: &StripCall<'_>, out: &mut [f32]) {
    multiply::<BF16>(call, out);
}

/// Bytes of the values of all rows for one k.
const fn bytes(format: u8) -> usize {
    if format == F32 { 4 * ROWS } else { 2 * ROWS }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
fn multiply<const FORMAT: u8>(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, bytes(FORMAT) * call.k, 0, out);
    // SAFETY: sizes are checked.
    unsafe { accumulate::<FORMAT, true>(call, 0..call.k, call.strip.as_ptr(), out.as_mut_ptr()) };
}

/// Adds the products of some k, whose weights begin at `weights`, to the sums of all rows of a call;
/// requests later weights if `AHEAD`.
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) unsafe fn accumulate<const FORMAT: u8, const AHEAD: bool>(
    call: &StripCall<'_>,
    k: std::ops::Range<usize>,
    weights: *const u8,
    out: *mut f32,
) {
    tiles(call.rows.len(), TILE, |start, size| {
        let k = k.clone();
        // SAFETY: the caller's; `start + size` is at most the number of rows.
        unsafe {
            match size {
                1 => tile::<FORMAT, AHEAD, 1>(call, start, k, weights, out),
                2 => tile::<FORMAT, AHEAD, 2>(call, start, k, weights, out),
                3 => tile::<FORMAT, AHEAD, 3>(call, start, k, weights, out),
                4 => tile::<FORMAT, AHEAD, 4>(call, start, k, weights, out),
                5 => tile::<FORMAT, AHEAD, 5>(call, start, k, weights, out),
                6 => tile::<FORMAT, AHEAD, 6>(call, start, k, weights, out),
                7 => tile::<FORMAT, AHEAD, 7>(call, start, k, weights, out),
                8 => tile::<FORMAT, AHEAD, 8>(call, start, k, weights, out),
                9 => tile::<FORMAT, AHEAD, 9>(call, start, k, weights, out),
                10 => tile::<FORMAT, AHEAD, 10>(call, start, k, weights, out),
                11 => tile::<FORMAT, AHEAD, 11>(call, start, k, weights, out),
                _ => tile::<FORMAT, AHEAD, TILE>(call, start, k, weights, out),
            }
        }
    });
}

#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn tile<const FORMAT: u8, const AHEAD: bool, const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    k: std::ops::Range<usize>,
    weights: *const u8,
    out: *mut f32,
) {
    // SAFETY: the caller's rows and weights hold these k.
    unsafe {
        let mut acc = sums::<M>(out, start);
        let mut x = [call.values.as_ptr(); M];
        for m in 0..M {
            x[m] = x[m].add(call.rows[start + m] as usize * call.k + k.start);
        }
        for k in 0..k.len() {
            let at = weights.add(bytes(FORMAT) * k);
            if AHEAD && start == 0 {
                prefetch(at, bytes(FORMAT));
            }
            let w = values::<FORMAT>(at);
            for m in 0..M {
                let x = _mm512_set1_ps(*x[m].add(k));
                acc[m][0] = _mm512_fmadd_ps(w[0], x, acc[m][0]);
                acc[m][1] = _mm512_fmadd_ps(w[1], x, acc[m][1]);
            }
        }
        store(&acc, out, start);
    }
}

/// The weights of all rows for one k.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn values<const FORMAT: u8>(p: *const u8) -> [__m512; 2] {
    // SAFETY: the caller's address has a value left for each row.
    unsafe {
        match FORMAT {
            F32 => [_mm512_loadu_ps(p.cast()), _mm512_loadu_ps(p.add(4 * LANES).cast())],
            F16 => row_f16(p),
            _ => [load_bf16(p), load_bf16(p.add(2 * LANES))],
        }
    }
}
