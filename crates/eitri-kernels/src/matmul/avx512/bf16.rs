//! `Bf16` weights times activations rounded to bf16, two products a lane and instruction
//! (`vdpbf16ps`), for CPUs that have it.
//!
//! Sums are f32; subnormal values count as zero.

use std::{
    arch::x86_64::{
        __m256bh, __m256i, __m512, __m512bh, __m512i, _mm256_storeu_si256, _mm512_cvtneps_pbh,
        _mm512_dpbf16_ps, _mm512_maskz_loadu_ps, _mm512_permutex2var_ps, _mm512_setr_epi32,
        _mm512_setzero_ps, _mm512_setzero_si512, _mm512_unpackhi_epi16, _mm512_unpacklo_epi16,
    },
    mem::transmute,
};

use super::{LANES, ROWS, broadcast, checked, load, prefetch, store};
use crate::{
    matmul::{Kernel, Prepare, StripCall, tiles},
    weight::GROUP,
};

/// Rows of activations per tile: with two halves, twenty-four registers of sums.
const TILE: usize = 12;
/// Bytes of 32 activations.
pub(super) const RECORD: usize = 2 * GROUP;

/// Whether this CPU has the instructions of this file beside those of the folder.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// Activations as bf16.
pub(super) const PREPARE: Prepare = Prepare { record: RECORD, row: rounded as _ };

/// The kernel; needs [`is_available`].
pub(super) fn kernel(name: &'static str) -> Kernel {
    Kernel { name, prepare: Some(PREPARE), run: multiply as _ }
}

/// One row of activations as bf16, filled up with zeros.
#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
fn rounded(values: &[f32], records: &mut [u8]) {
    let halves = records.as_chunks_mut::<{ RECORD / 2 }>().0;
    for (i, half) in halves.iter_mut().enumerate() {
        let values = &values[values.len().min(LANES * i)..values.len().min(LANES * (i + 1))];
        // SAFETY: only lanes that `values` has are read; a half record is one vector of 16 bf16.
        unsafe {
            let lanes =
                _mm512_maskz_loadu_ps(((1_u32 << values.len()) - 1) as u16, values.as_ptr());
            let rounded = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(lanes));
            _mm256_storeu_si256(half.as_mut_ptr().cast(), rounded);
        }
    }
}

#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
fn multiply(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, 2 * ROWS * call.k, call.k.div_ceil(GROUP) * RECORD, out);
    let out = out.as_mut_ptr();
    tiles(call.rows.len(), TILE, |start, size| {
        // SAFETY: sizes are checked; `start + size` is at most the number of rows.
        unsafe {
            match size {
                1 => tile::<1>(call, start, out),
                2 => tile::<2>(call, start, out),
                3 => tile::<3>(call, start, out),
                4 => tile::<4>(call, start, out),
                5 => tile::<5>(call, start, out),
                6 => tile::<6>(call, start, out),
                7 => tile::<7>(call, start, out),
                8 => tile::<8>(call, start, out),
                9 => tile::<9>(call, start, out),
                10 => tile::<10>(call, start, out),
                11 => tile::<11>(call, start, out),
                _ => tile::<TILE>(call, start, out),
            }
        }
    });
}

#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
unsafe fn tile<const M: usize>(call: &StripCall<'_>, start: usize, out: *mut f32) {
    let mut acc = [[_mm512_setzero_ps(); 2]; M];
    // SAFETY: the checked rows and strip hold k values.
    unsafe {
        let mut x = [call.records.as_ptr(); M];
        for m in 0..M {
            let row = call.rows[start + m] as usize;
            x[m] = x[m].add(row * call.k.div_ceil(GROUP) * RECORD);
        }
        for pair in 0..call.k / 2 {
            let weights = call.strip.as_ptr().add(4 * ROWS * pair);
            if start == 0 {
                prefetch(weights, 4 * ROWS);
            }
            let w = pairs(load(weights), load(weights.add(2 * ROWS)));
            for m in 0..M {
                let x = pairs_of(broadcast(x[m].add(4 * pair)));
                acc[m][0] = _mm512_dpbf16_ps(acc[m][0], w[0], x);
                acc[m][1] = _mm512_dpbf16_ps(acc[m][1], w[1], x);
            }
        }
        if call.k % 2 == 1 {
            let last = load(call.strip.as_ptr().add(2 * ROWS * (call.k - 1)));
            let w = pairs(last, _mm512_setzero_si512());
            for m in 0..M {
                let x = pairs_of(broadcast(x[m].add(2 * (call.k - 1))));
                acc[m][0] = _mm512_dpbf16_ps(acc[m][0], w[0], x);
                acc[m][1] = _mm512_dpbf16_ps(acc[m][1], w[1], x);
            }
        }
        for m in 0..M {
            acc[m] = in_order(acc[m]);
        }
        store(&acc, out, start);
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
pub(super) fn pairs_of(bits: __m512i) -> __m512bh {
    // SAFETY: any bits are bf16 values.
    unsafe { transmute(bits) }
}

/// The same value, computed here and not later, as in [`integer`](super::integer).
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
pub(super) fn pinned(mut v: __m512) -> __m512 {
    // SAFETY: no instruction, no memory access.
    unsafe {
        std::arch::asm!("/* {0} */", inout(zmm_reg) v, options(nomem, nostack, preserves_flags));
    }
    v
}

/// The values of all rows for two k as pairs: in each 128 bits those of four rows, the first ones of
/// eight and the others.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
fn pairs(first: __m512i, second: __m512i) -> [__m512bh; 2] {
    [pairs_of(_mm512_unpacklo_epi16(first, second)), pairs_of(_mm512_unpackhi_epi16(first, second))]
}

/// Sums of pairs in the order of rows.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni,avx512bf16")]
fn in_order([a, b]: [__m512; 2]) -> [__m512; 2] {
    let low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    let high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)]
}
