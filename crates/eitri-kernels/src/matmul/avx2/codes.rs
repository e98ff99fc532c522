//! Codes of a group of 32 as a strip holds them (see `weight/codes.rs`), a vector at a time: cells of
//! four consecutive k of eight rows, in bytes.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_and_si128, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128,
    _mm_or_si128, _mm_set1_epi8, _mm_slli_epi16, _mm_srl_epi16, _mm_srli_epi16, _mm_unpackhi_epi64,
    _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_set1_epi8, _mm256_sll_epi16,
    _mm256_srl_epi16, _mm256_srli_epi16,
};

use super::{LANES, load};

/// The four bits of vector `v` of eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn nibbles(section: *const u8, half: usize, v: usize) -> __m256i {
    // SAFETY: within the caller's section.
    let cells = unsafe { load(section.add(half * 16 * LANES + v / 2 * 32)) };
    let cells = if v.is_multiple_of(2) { cells } else { _mm256_srli_epi16::<4>(cells) };
    _mm256_and_si256(cells, _mm256_set1_epi8(15))
}

/// The two bits of vector `v` of eight, in bits `at` and `at + 1` of a byte.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn pairs<const AT: usize>(section: *const u8, half: usize, v: usize) -> __m256i {
    // SAFETY: within the caller's section.
    let cells = unsafe { load(section.add(half * 8 * LANES + v / 4 * 32)) };
    _mm256_and_si256(moved(cells, 2 * (v % 4), AT), _mm256_set1_epi8(3 << AT))
}

/// The bit of vector `v` of eight, in bit `AT` of a byte.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn bits<const AT: usize>(section: *const u8, half: usize, v: usize) -> __m256i {
    // SAFETY: within the caller's section.
    let cells = unsafe { load(section.add(half * 4 * LANES)) };
    _mm256_and_si256(moved(cells, v, AT), _mm256_set1_epi8(1 << AT))
}

/// Shifts so that bit `from` comes to `to`, when the others are masked away.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn moved(cells: __m256i, from: usize, to: usize) -> __m256i {
    let by = |count: usize| -> __m128i { _mm_cvtsi32_si128(count as i32) };
    if from < to {
        _mm256_sll_epi16(cells, by(to - from))
    } else {
        _mm256_srl_epi16(cells, by(from - to))
    }
}

/// Eight bytes in 32 bits each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn bytes(p: *const u8) -> __m256i {
    // SAFETY: the caller's address has 8 bytes left.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(p.cast()) })
}

/// A byte of each row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn sixteen(p: *const u8) -> __m128i {
    // SAFETY: the caller's address has 16 bytes left.
    unsafe { _mm_loadu_si128(p.cast()) }
}

/// The bytes of both halves of the rows in 32 bits each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn wide_cells(bytes: __m128i) -> [__m256i; 2] {
    [_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes))]
}

/// The same as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn widened(bytes: __m128i) -> [__m256; 2] {
    let [low, high] = wide_cells(bytes);
    [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
}

/// Two 6-bit numbers of each row: low bits in the halves of a byte of `low`, high bits in four bits of
/// `high` from `shift` (0 or 4) on. Shifts carry bits of the next byte along, which the masks take out.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn six_bits(low: __m128i, high: __m128i, shift: usize) -> [__m128i; 2] {
    let high = _mm_slli_epi16::<4>(_mm_srl_epi16(high, _mm_cvtsi32_si128(shift as i32)));
    let (low_mask, high_mask) = (_mm_set1_epi8(15), _mm_set1_epi8(0x30));
    [
        _mm_or_si128(_mm_and_si128(low, low_mask), _mm_and_si128(high, high_mask)),
        _mm_or_si128(
            _mm_and_si128(_mm_srli_epi16::<4>(low), low_mask),
            _mm_and_si128(_mm_srli_epi16::<2>(high), high_mask),
        ),
    ]
}
