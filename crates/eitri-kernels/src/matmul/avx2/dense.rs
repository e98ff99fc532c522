//! Unquantised weights times f32 activations.
//!
//! Even and odd k have their own sums, added at the end: with one row of activations that doubles
//! the independent chains of multiply-adds, and with three it still fits the registers.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_broadcast_ss, _mm256_castsi256_ps, _mm256_fmadd_ps,
    _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_unpackhi_epi16,
    _mm256_unpacklo_epi16,
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
    checked(call, 2 * ROWS * call.k, 0, out);
    multiply::<BF16>(call, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<const FORMAT: u8>(call: &StripCall<'_>, out: &mut [f32]) {
    tiles(call.rows.len(), TILE, |start, size| {
        // SAFETY: sizes are checked; `start + size` is at most the number of rows.
        unsafe {
            match (size, start) {
                (1, 0) => tile::<FORMAT, 1, true>(call, start, out),
                (2, 0) => tile::<FORMAT, 2, true>(call, start, out),
                (_, 0) => tile::<FORMAT, TILE, true>(call, start, out),
                (1, _) => tile::<FORMAT, 1, false>(call, start, out),
                (2, _) => tile::<FORMAT, 2, false>(call, start, out),
                _ => tile::<FORMAT, TILE, false>(call, start, out),
            }
        }
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const FORMAT: u8, const M: usize, const AHEAD: bool>(
    call: &StripCall<'_>,
    start: usize,
    out: &mut [f32],
) {
    let mut sums = [[[_mm256_setzero_ps(); 2]; 2]; M];
    // SAFETY: the rows exist and the strip holds k values of each of its rows.
    unsafe {
        let x = value_pointers::<M>(call, start, 0);
        accumulate::<FORMAT, M, AHEAD>(call.strip.as_ptr(), call.k, &x, &mut sums);
    }
    for (m, &sums) in sums.iter().enumerate() {
        let [a, b] = total(sums);
        let in_order = if FORMAT == BF16 {
            [_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)]
        } else {
            [a, b]
        };
        store(&[in_order], start + m, out);
    }
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

/// Adds the products of `len` values of k, from an even one on; requests later weights if `AHEAD`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn accumulate<const FORMAT: u8, const M: usize, const AHEAD: bool>(
    strip: *const u8,
    len: usize,
    x: &[*const f32; M],
    total: &mut [Sums; M],
) {
    // A copy whose address nobody has, so that it lives in registers.
    let mut sums = [[[_mm256_setzero_ps(); 2]; 2]; M];
    for m in 0..M {
        sums[m] = total[m];
    }
    // SAFETY: the caller's strip and rows hold `len` values.
    unsafe {
        for k in (0..len / 2).map(|pair| 2 * pair) {
            if AHEAD {
                let bytes = if FORMAT == F32 { 4 } else { 2 };
                prefetch::<64>(strip.add(bytes * ROWS * k));
                if FORMAT == F32 {
                    prefetch::<64>(strip.add(bytes * ROWS * (k + 1)));
                }
            }
            for parity in 0..2 {
                let w = weights::<FORMAT>(strip, k + parity);
                for m in 0..M {
                    let x = _mm256_broadcast_ss(&*x[m].add(k + parity));
                    sums[m][parity][0] = _mm256_fmadd_ps(w[0], x, sums[m][parity][0]);
                    sums[m][parity][1] = _mm256_fmadd_ps(w[1], x, sums[m][parity][1]);
                }
            }
        }
        if len % 2 == 1 {
            let w = weights::<FORMAT>(strip, len - 1);
            for m in 0..M {
                let x = _mm256_broadcast_ss(&*x[m].add(len - 1));
                sums[m][0][0] = _mm256_fmadd_ps(w[0], x, sums[m][0][0]);
                sums[m][0][1] = _mm256_fmadd_ps(w[1], x, sums[m][0][1]);
            }
        }
    }
    for m in 0..M {
        total[m] = sums[m];
    }
}

/// The weights of all rows for one k: rows 0 to 7 and 8 to 15, but of bf16, where widening works
/// within 128-bit halves, rows 0 to 3 with 8 to 11 and the others.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weights<const FORMAT: u8>(strip: *const u8, k: usize) -> [__m256; 2] {
    // SAFETY: the caller's strip holds value k.
    unsafe {
        match FORMAT {
            F32 => {
                let p = strip.add(4 * ROWS * k);
                [_mm256_castsi256_ps(load(p)), _mm256_castsi256_ps(load(p.add(4 * LANES)))]
            }
            F16 => {
                let p = strip.add(2 * ROWS * k);
                [load_f16(p), load_f16(p.add(2 * LANES))]
            }
            _ => {
                let (values, zero) = (load(strip.add(2 * ROWS * k)), _mm256_setzero_si256());
                [
                    _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, values)),
                    _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, values)),
                ]
            }
        }
    }
}
