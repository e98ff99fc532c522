//! Activations as 8-bit integers: records of 32 values with their scale and what undoes the offsets
//! of weights.
//!
//! A scale is the largest magnitude over the largest code. A group with an infinity or NaN gets a
//! NaN scale, so that the outputs show it.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_setr_epi8, _mm_shuffle_epi8, _mm_storeu_si128, _mm512_abs_ps,
    _mm512_cvtepi32_epi8, _mm512_cvtps_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps,
    _mm512_mul_ps, _mm512_reduce_add_epi32, _mm512_reduce_add_ps, _mm512_reduce_max_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};

use super::integer::{Format, Record};
use crate::weight::GROUP;

/// Magnitudes below this are taken for zero: their reciprocal would overflow.
const TINY: f32 = 1e-30;
const LARGEST_CODE: f32 = 127.0;

/// The records of one row for weights of a format.
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn records<F: Format>(values: &[f32], records: &mut [u8]) {
    let groups = values.as_chunks::<GROUP>().0;
    for (group, record) in groups.iter().zip(records.chunks_exact_mut(Record::<F>::BYTES)) {
        let ([low, high], scale) = quantised(group);
        // SAFETY: a record begins with 32 bytes of codes.
        unsafe {
            _mm_storeu_si128(record.as_mut_ptr().cast(), cells::<F>(low));
            _mm_storeu_si128(record.as_mut_ptr().add(16).cast(), cells::<F>(high));
        }
        record[GROUP..GROUP + 4].copy_from_slice(&scale.to_le_bytes());
        let sums = [_mm512_reduce_add_epi32(low), _mm512_reduce_add_epi32(high)];
        for scale_index in 0..F::SCALES {
            let sum = if F::SCALES == 1 { sums[0] + sums[1] } else { sums[scale_index] };
            if F::CENTRE != 0 {
                let at = Record::<F>::START + 4 * scale_index;
                record[at..at + 4].copy_from_slice(&(-F::CENTRE * sum).to_le_bytes());
            }
            if F::MIDDLE {
                let at = Record::<F>::OFFSET + 4 * scale_index;
                record[at..at + 4].copy_from_slice(&(scale * sum as f32).to_le_bytes());
            }
        }
    }
}

/// A group as integers, and its scale.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn quantised(values: &[f32; GROUP]) -> ([__m512i; 2], f32) {
    let zero = _mm512_setzero_ps();
    // SAFETY: the array holds two vectors.
    let [a, b] = unsafe {
        [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(GROUP / 2))]
    };
    let max = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
    // Zero, but for what is not finite.
    let poison = _mm512_reduce_add_ps(_mm512_fmadd_ps(a, zero, _mm512_mul_ps(b, zero)));
    if poison.is_nan() {
        return ([_mm512_setzero_si512(); 2], poison);
    }
    let (scale, inverse) =
        if max > TINY { (max / LARGEST_CODE, LARGEST_CODE / max) } else { (0.0, 0.0) };
    let inverse = _mm512_set1_ps(inverse);
    let codes = [
        _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse)),
        _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse)),
    ];
    (codes, scale)
}

/// Sixteen codes as bytes, in the order of the weights' cells.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn cells<F: Format>(codes: __m512i) -> __m128i {
    let bytes = _mm512_cvtepi32_epi8(codes);
    if F::SWAPPED {
        let order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
        return _mm_shuffle_epi8(bytes, order);
    }
    bytes
}
