//! Unquantised weights times f32 activations.
//!
//! Even and odd k have their own sums, added at the end: with one row of activations that doubles
//! the independent chains of multiply-adds, and with three it still fits the registers.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_and_si256, _mm256_broadcast_ss, _mm256_castsi256_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_slli_epi32,
};

use super::{LANES, ROWS, StripCall, checked, load, load_f16, prefetch, store};
use crate::matmul::tiles;

/// Rows of activations per tile: with two halves and two sums, twelve registers.
pub(super) const TILE: usize = 3;

/// Sums of even and of odd k, each for both halves of the strip.
pub(super) type Sums = [[__m256; 2]; 2];

pub(super) const F32: u8 = 0;
pub(super) const F16: u8 = 1;
pub(super) const BF16: u8 = 2;

/// `F32` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn f32(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, 4 * ROWS * call.k, 0, out);
    multiply::<F32>(call, out);
}

/// `F16` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn f16(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, 2 * ROWS * call.k, 0, out);
    multiply::<F16>(call, out);
}

/// `Bf16` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn bf16(call: &StripCall<'_>, out: &mut [f32]) {
    checked(call, 4 * ROWS * call.k.div_ceil(2), 0, out);
    multiply::<BF16>(call, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<const FORMAT: u8>(call: &StripCall<'_>, out: &mut [f32]) {
    tiles(call.rows.len(), TILE, |start, size| {
        // SAFETY: sizes are checked; `start + size` is at most the number of rows.
        unsafe {
            match size {
                1 => tile::<FORMAT, 1>(call, start, out),
                2 => tile::<FORMAT, 2>(call, start, out),
                _ => tile::<FORMAT, TILE>(call, start, out),
            }
        }
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const FORMAT: u8, const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    out: &mut [f32],
) {
    // SAFETY: the rows exist and the strip holds k values of each of its rows.
    let sums = unsafe {
        let x = value_pointers::<M>(call, start, 0);
        let zero = [[[_mm256_setzero_ps(); 2]; 2]; M];
        accumulate::<FORMAT, M>(call.strip.as_ptr(), call.k, &x, zero)
    };
    store(&sums.map(|sums| total(sums)), start, out);
}

/// Value of both parities.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn total([even, odd]: Sums) -> [__m256; 2] {
    [_mm256_add_ps(even[0], odd[0]), _mm256_add_ps(even[1], odd[1])]
}

/// Pointer to value `k0` of each row of a tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn value_pointers<const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    k0: usize,
) -> [*const f32; M] {
    let base = call.values.as_ptr();
    // SAFETY: `checked` has asserted that each row's values exist.
    std::array::from_fn(|m| unsafe { base.add(call.rows[start + m] as usize * call.k + k0) })
}

/// Adds the products of `len` values of k, from an even one on.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn accumulate<const FORMAT: u8, const M: usize>(
    strip: *const u8,
    len: usize,
    x: &[*const f32; M],
    mut sums: [Sums; M],
) -> [Sums; M] {
    // SAFETY: the caller's strip and rows hold `len` values.
    unsafe {
        for k in (0..len / 2).map(|pair| 2 * pair) {
            for parity in 0..2 {
                let w = weights::<FORMAT>(strip, k + parity);
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = _mm256_broadcast_ss(&*x.add(k + parity));
                    sums[parity][0] = _mm256_fmadd_ps(w[0], x, sums[parity][0]);
                    sums[parity][1] = _mm256_fmadd_ps(w[1], x, sums[parity][1]);
                }
            }
        }
        if len % 2 == 1 {
            let w = weights::<FORMAT>(strip, len - 1);
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = _mm256_broadcast_ss(&*x.add(len - 1));
                sums[0][0] = _mm256_fmadd_ps(w[0], x, sums[0][0]);
                sums[0][1] = _mm256_fmadd_ps(w[1], x, sums[0][1]);
            }
        }
    }
    sums
}

/// The weights of all rows for one k.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weights<const FORMAT: u8>(strip: *const u8, k: usize) -> [__m256; 2] {
    // SAFETY: the caller's strip holds value k.
    unsafe {
        if FORMAT == F32 {
            let p = strip.add(4 * ROWS * k);
            prefetch::<64>(p);
            [_mm256_loadu_ps(p.cast()), _mm256_loadu_ps(p.add(4 * LANES).cast())]
        } else if FORMAT == F16 {
            let p = strip.add(2 * ROWS * k);
            if k.is_multiple_of(2) {
                prefetch::<64>(p);
            }
            [load_f16(p), load_f16(p.add(2 * LANES))]
        } else {
            let p = strip.add(4 * ROWS * (k / 2));
            let (a, b) = (load(p), load(p.add(4 * LANES)));
            if k.is_multiple_of(2) {
                prefetch::<64>(p);
                [a, b].map(|v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v)))
            } else {
                let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                [a, b].map(|v| _mm256_castsi256_ps(_mm256_and_si256(v, upper)))
            }
        }
    }
}
