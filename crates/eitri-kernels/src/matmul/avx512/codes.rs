//! Codes of a group of 32 as a strip holds them (see `weight/codes.rs`), a vector at a time: cells of
//! four consecutive k of sixteen rows, in bytes.

use std::arch::x86_64::{
    __m128i, __m256i, __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_or_si512, _mm512_set1_epi8, _mm512_shuffle_epi8, _mm512_sll_epi16,
    _mm512_srl_epi16, _mm512_srli_epi16,
};

use super::load;

/// The four bits of vector `v` of eight.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) unsafe fn nibbles(section: *const u8, half: usize, v: usize) -> __m512i {
    // SAFETY: within the caller's section.
    let cells = unsafe { load(section.add((half * 4 + v / 2) * 64)) };
    let cells = if v.is_multiple_of(2) { cells } else { _mm512_srli_epi16::<4>(cells) };
    _mm512_and_si512(cells, _mm512_set1_epi8(15))
}

/// The two bits of vector `v` of eight, in bits `AT` and `AT + 1` of a byte.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) unsafe fn pairs<const AT: usize>(section: *const u8, half: usize, v: usize) -> __m512i {
    // SAFETY: within the caller's section.
    let cells = unsafe { load(section.add((half * 2 + v / 4) * 64)) };
    _mm512_and_si512(moved(cells, 2 * (v % 4), AT), _mm512_set1_epi8(3 << AT))
}

/// The bit of vector `v` of eight, in bit `AT` of a byte.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) unsafe fn bits<const AT: usize>(section: *const u8, half: usize, v: usize) -> __m512i {
    // SAFETY: within the caller's section.
    let cells = unsafe { load(section.add(half * 64)) };
    _mm512_and_si512(moved(cells, v, AT), _mm512_set1_epi8(1 << AT))
}

/// The bytes of vector `v` of eight.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) unsafe fn bytes(section: *const u8, half: usize, v: usize) -> __m512i {
    // SAFETY: within the caller's section.
    unsafe { load(section.add((half * 8 + v) * 64)) }
}

/// Codes with more bits above them.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn joined(low: __m512i, high: __m512i) -> __m512i {
    _mm512_or_si512(low, high)
}

/// What a table of sixteen bytes holds for each code.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn named(table: &[u8; 16], codes: __m512i) -> __m512i {
    // SAFETY: the table is one vector of 128 bits.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes)
}

/// Shifts so that bit `from` comes to `to`, when the others are masked away.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn moved(cells: __m512i, from: usize, to: usize) -> __m512i {
    if from < to {
        _mm512_sll_epi16(cells, count(to - from))
    } else {
        _mm512_srl_epi16(cells, count(from - to))
    }
}

/// A number of bits for a shift.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn count(bits: usize) -> __m128i {
    _mm_cvtsi32_si128(bits as i32)
}

/// A byte of each row as 32-bit integers.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn wide(bytes: __m256i) -> [__m512i; 2] {
    [
        _mm512_cvtepu8_epi32(_mm256_castsi256_si128(bytes)),
        _mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(bytes)),
    ]
}

/// The same as floats.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn widened(bytes: __m256i) -> [__m512; 2] {
    let [low, high] = wide(bytes);
    [_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(high)]
}
