//! Activations as integers: records of 32 values with their scale and what undoes weight offsets.
//!
//! A scale is the largest magnitude over the largest code. A group with an infinity or NaN gets a
//! NaN scale, so that the outputs show it.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_add_epi16, _mm_add_epi32, _mm_add_ps, _mm_cvtsi128_si32,
    _mm_cvtss_f32, _mm_max_ps, _mm_movehl_ps, _mm_mullo_epi16, _mm_set1_epi16, _mm_shuffle_epi32,
    _mm_shuffle_ps, _mm256_add_epi32, _mm256_and_ps, _mm256_castps256_ps128, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cvtps_epi32, _mm256_extractf128_ps, _mm256_extracti128_si256,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_mul_ps,
    _mm256_packs_epi16, _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_permutevar8x32_epi32,
    _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps,
    _mm256_storeu_si256,
};

use super::{group16::Group16, group32::Group32};
use crate::weight::GROUP;

/// 32 i8 codes, scale, scale times a factor times the sum of the codes.
pub(super) const I8_RECORD: usize = 40;
/// 32 i16 codes, scale.
pub(super) const I16_RECORD: usize = 68;
/// 32 i8 codes, scale, scale times the sum of the codes, then two i16: minus the centre of the
/// weights' codes times the sum of codes 0 and 1 modulo 4, and of codes 2 and 3 modulo 4.
pub(super) const GROUP32_RECORD: usize = 44;
/// 32 i8 codes, scale, then for each half of the codes two i16: minus the centre of the weights' codes
/// times the sum of codes 0 and 1 modulo 4, and of codes 2 and 3 modulo 4; of weights with minima the
/// sums themselves.
pub(super) const GROUP16_RECORD: usize = 44;

/// 32 i16 codes, scale, scale times the sum of the codes.
pub(super) const I16_SUM_RECORD: usize = 72;

/// Magnitudes below this are taken for zero: their reciprocal would overflow.
const TINY: f32 = 1e-30;

/// A group as integers in four vectors, and its scale.
struct Quantised {
    codes: [__m256i; 4],
    scale: f32,
}

#[target_feature(enable = "avx2,fma,f16c")]
fn quantise(values: &[f32; GROUP], largest_code: f32) -> Quantised {
    let magnitude = magnitude_mask();
    let zero = _mm256_setzero_ps();
    let (mut v, mut max, mut poison) = ([zero; 4], zero, zero);
    for (i, v) in v.iter_mut().enumerate() {
        // SAFETY: the array holds four vectors.
        *v = unsafe { _mm256_loadu_ps(values.as_ptr().add(8 * i)) };
        max = _mm256_max_ps(max, _mm256_and_ps(*v, magnitude));
        poison = _mm256_fmadd_ps(*v, zero, poison);
    }
    let max = horizontal_max(max);
    let (scale, inverse) =
        if max > TINY { (max / largest_code, largest_code / max) } else { (0.0, 0.0) };
    let inverse = _mm256_set1_ps(inverse);
    Quantised {
        codes: v.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse))),
        scale: scale + horizontal_sum(poison),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn magnitude_mask() -> __m256 {
    _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn horizontal_max(v: __m256) -> f32 {
    let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_max_ps(v, _mm_shuffle_ps::<1>(v, v)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn horizontal_sum(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ps(v, _mm_shuffle_ps::<1>(v, v)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn horizontal_sum_i32(v: __m256i) -> i32 {
    let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b00_00_11_10>(v));
    _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<1>(v)))
}

impl Quantised {
    /// The codes as 32 signed bytes.
    #[target_feature(enable = "avx2,fma,f16c")]
    fn bytes(&self) -> __m256i {
        let low = _mm256_packs_epi32(self.codes[0], self.codes[1]);
        let high = _mm256_packs_epi32(self.codes[2], self.codes[3]);
        // Packing works within 128-bit halves; this puts the fours of codes back in order.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order)
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn sum(&self) -> i32 {
        let [a, b, c, d] = self.codes;
        horizontal_sum_i32(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)))
    }
}

/// Records for weights whose offset is `FACTOR` scales (8) or a minimum (1).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn i8<const FACTOR: i32>(values: &[f32], records: &mut [u8]) {
    let groups = values.as_chunks::<GROUP>().0;
    for (group, record) in groups.iter().zip(records.as_chunks_mut::<I8_RECORD>().0) {
        let quantised = quantise(group, 127.0);
        // SAFETY: a record begins with 32 bytes of codes.
        unsafe { _mm256_storeu_si256(record.as_mut_ptr().cast(), quantised.bytes()) };
        let offset = quantised.scale * quantised.sum() as f32 * FACTOR as f32;
        record[32..36].copy_from_slice(&quantised.scale.to_le_bytes());
        record[36..40].copy_from_slice(&offset.to_le_bytes());
    }
}

/// Sums of bytes 0 and 1 modulo 4, and of bytes 2 and 3 modulo 4, of each 16 bytes.
#[target_feature(enable = "avx2,fma,f16c")]
fn pair_sums(bytes: __m256i) -> [__m128i; 2] {
    let sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    [_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)].map(|sums| {
        let sums = _mm_add_epi16(sums, _mm_shuffle_epi32::<0b00_00_11_10>(sums));
        _mm_add_epi16(sums, _mm_shuffle_epi32::<1>(sums))
    })
}

/// Two i16 times a factor, whatever wraps, as they are stored.
#[target_feature(enable = "avx2,fma,f16c")]
fn times(sums: __m128i, factor: i16) -> [u8; 4] {
    _mm_cvtsi128_si32(_mm_mullo_epi16(sums, _mm_set1_epi16(factor))).to_le_bytes()
}

/// Records for weights with one scale per 32.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn group32<F: Group32>(values: &[f32], records: &mut [u8]) {
    let groups = values.as_chunks::<GROUP>().0;
    for (group, record) in groups.iter().zip(records.as_chunks_mut::<GROUP32_RECORD>().0) {
        let quantised = quantise(group, 127.0);
        let bytes = quantised.bytes();
        // SAFETY: a record begins with 32 bytes of codes.
        unsafe { _mm256_storeu_si256(record.as_mut_ptr().cast(), bytes) };
        let offset = quantised.scale * quantised.sum() as f32;
        let [first, second] = pair_sums(bytes);
        record[32..36].copy_from_slice(&(quantised.scale * F::UNIT).to_le_bytes());
        record[36..40].copy_from_slice(&offset.to_le_bytes());
        record[40..44].copy_from_slice(&times(_mm_add_epi16(first, second), -F::CENTRE));
    }
}

/// Records for weights with one scale per 16.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn group16<F: Group16>(values: &[f32], records: &mut [u8]) {
    write_halves(if F::MINIMA { 1 } else { -F::CENTRE }, values, records);
}

/// The same for codes that are `-FACTOR` too large.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn halves<const FACTOR: i16>(values: &[f32], records: &mut [u8]) {
    write_halves(FACTOR, values, records);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn write_halves(factor: i16, values: &[f32], records: &mut [u8]) {
    let groups = values.as_chunks::<GROUP>().0;
    for (group, record) in groups.iter().zip(records.as_chunks_mut::<GROUP16_RECORD>().0) {
        let quantised = quantise(group, 127.0);
        let bytes = quantised.bytes();
        // SAFETY: a record begins with 32 bytes of codes.
        unsafe { _mm256_storeu_si256(record.as_mut_ptr().cast(), bytes) };
        let [first, second] = pair_sums(bytes);
        record[32..36].copy_from_slice(&quantised.scale.to_le_bytes());
        record[36..40].copy_from_slice(&times(first, factor));
        record[40..44].copy_from_slice(&times(second, factor));
    }
}

/// Records for weights of signed bytes, which meet 16-bit activations at the cost of 8-bit ones.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn i16(values: &[f32], records: &mut [u8]) {
    let groups = values.as_chunks::<GROUP>().0;
    for (group, record) in groups.iter().zip(records.as_chunks_mut::<I16_RECORD>().0) {
        write_i16(&quantise(group, 32767.0), record);
    }
}

/// Records for 8-bit weights with zeros.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn i16_sum(values: &[f32], records: &mut [u8]) {
    let groups = values.as_chunks::<GROUP>().0;
    for (group, record) in groups.iter().zip(records.as_chunks_mut::<I16_SUM_RECORD>().0) {
        let quantised = quantise(group, 32767.0);
        write_i16(&quantised, record);
        record[68..72].copy_from_slice(&(quantised.scale * quantised.sum() as f32).to_le_bytes());
    }
}

/// Codes and scale.
#[target_feature(enable = "avx2,fma,f16c")]
fn write_i16(quantised: &Quantised, record: &mut [u8]) {
    let codes = &mut record[..2 * GROUP];
    for half in 0..2 {
        let [a, b] = [quantised.codes[2 * half], quantised.codes[2 * half + 1]];
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
        // SAFETY: the codes are two vectors.
        unsafe { _mm256_storeu_si256(codes.as_mut_ptr().add(32 * half).cast(), packed) };
    }
    record[64..68].copy_from_slice(&quantised.scale.to_le_bytes());
}
