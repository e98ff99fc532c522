//! `Q2K`, `Q3K` and `Q6K` weights, for [`group16`](super::group16).

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm_set1_epi8, _mm_sub_epi8, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_or_si256, _mm256_set1_epi16, _mm256_setr_epi8,
    _mm256_setzero_ps, _mm256_shuffle_epi8, _mm256_srai_epi16, _mm256_srli_epi16,
};

use super::{
    LANES, ROWS,
    codes::{bits, nibbles, pairs, six_bits, sixteen},
    group16::{Group16, Halves},
    load_f16,
};

/// Two bytes of each row as signed 16-bit numbers: the first ones, then the second ones, each twice
/// in a 32-bit cell.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn byte_pairs(p: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller's address has 16 bytes left.
    let pairs = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(p.cast()) });
    // Each byte goes to the upper byte of a lane, so that a shift extends its sign.
    let first = _mm256_setr_epi8(
        -1, 0, -1, 0, -1, 2, -1, 2, -1, 4, -1, 4, -1, 6, -1, 6, //
        -1, 8, -1, 8, -1, 10, -1, 10, -1, 12, -1, 12, -1, 14, -1, 14,
    );
    let second = _mm256_setr_epi8(
        -1, 1, -1, 1, -1, 3, -1, 3, -1, 5, -1, 5, -1, 7, -1, 7, //
        -1, 9, -1, 9, -1, 11, -1, 11, -1, 13, -1, 13, -1, 15, -1, 15,
    );
    [
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(pairs, first)),
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(pairs, second)),
    ]
}

/// A signed byte of each row as a 16-bit number, twice in a 32-bit cell, for both halves of the rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn twice(bytes: __m128i) -> [__m256i; 2] {
    let bytes = _mm256_broadcastsi128_si256(bytes);
    let low = _mm256_setr_epi8(
        -1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, //
        -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7,
    );
    let high = _mm256_setr_epi8(
        -1, 8, -1, 8, -1, 9, -1, 9, -1, 10, -1, 10, -1, 11, -1, 11, //
        -1, 12, -1, 12, -1, 13, -1, 13, -1, 14, -1, 14, -1, 15, -1, 15,
    );
    [
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(bytes, low)),
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(bytes, high)),
    ]
}

pub(super) struct Q6K;

impl Group16 for Q6K {
    const CENTRE: i16 = 32;
    const MINIMA: bool = false;
    const BLOCK: usize = 210 * ROWS;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let low = block.add((2 + 26 * group + 2) * ROWS);
            let high = low.add(16 * ROWS);
            _mm256_or_si256(nibbles(low, half, v), pairs::<4>(high, half, v))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, group: usize) -> Halves {
        // SAFETY: the caller's.
        unsafe {
            let scales = block.add((2 + 26 * group) * ROWS);
            [byte_pairs(scales), byte_pairs(scales.add(ROWS))]
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(block: *const u8, half: usize) -> [__m256; 2] {
        // SAFETY: the caller's.
        [unsafe { load_f16(block.add(2 * LANES * half)) }, _mm256_setzero_ps()]
    }
}

pub(super) struct Q3K;

impl Group16 for Q3K {
    const CENTRE: i16 = 4;
    const MINIMA: bool = false;
    const BLOCK: usize = 110 * ROWS;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let low = block.add((14 + 12 * group) * ROWS);
            let high = low.add(8 * ROWS);
            _mm256_or_si256(pairs::<0>(low, half, v), bits::<2>(high, half, v))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, group: usize) -> Halves {
        // SAFETY: the caller's.
        let (low, high) = unsafe {
            (sixteen(block.add((2 + group) * ROWS)), sixteen(block.add((10 + group / 2) * ROWS)))
        };
        let centre = _mm_set1_epi8(32);
        let [first, second] = six_bits(low, high, 4 * (group % 2));
        let first = twice(_mm_sub_epi8(first, centre));
        let second = twice(_mm_sub_epi8(second, centre));
        [[first[0], second[0]], [first[1], second[1]]]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(block: *const u8, half: usize) -> [__m256; 2] {
        // SAFETY: the caller's.
        [unsafe { load_f16(block.add(2 * LANES * half)) }, _mm256_setzero_ps()]
    }
}

pub(super) struct Q2K;

impl Q2K {
    /// Where a group begins.
    #[inline]
    unsafe fn group(block: *const u8, group: usize) -> *const u8 {
        // SAFETY: the caller's.
        unsafe { block.add((4 + 10 * group) * ROWS) }
    }

    /// Scales and minima of a group, in the halves of a byte.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bytes(block: *const u8, group: usize) -> Halves {
        // SAFETY: the caller's.
        unsafe {
            let scales = Self::group(block, group);
            [byte_pairs(scales), byte_pairs(scales.add(ROWS))]
        }
    }
}

impl Group16 for Q2K {
    const CENTRE: i16 = 0;
    const MINIMA: bool = true;
    const BLOCK: usize = 84 * ROWS;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(block: *const u8, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe { pairs::<0>(Self::group(block, group).add(2 * ROWS), half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, group: usize) -> Halves {
        let low = _mm256_set1_epi16(15);
        // SAFETY: the caller's.
        let [[a, b], [c, d]] = unsafe { Self::bytes(block, group) };
        [
            [_mm256_and_si256(a, low), _mm256_and_si256(b, low)],
            [_mm256_and_si256(c, low), _mm256_and_si256(d, low)],
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn minima(block: *const u8, group: usize) -> Halves {
        let low = _mm256_set1_epi16(15);
        // SAFETY: the caller's.
        let [[a, b], [c, d]] = unsafe { Self::bytes(block, group) };
        [
            [
                _mm256_and_si256(_mm256_srli_epi16::<4>(a), low),
                _mm256_and_si256(_mm256_srli_epi16::<4>(b), low),
            ],
            [
                _mm256_and_si256(_mm256_srli_epi16::<4>(c), low),
                _mm256_and_si256(_mm256_srli_epi16::<4>(d), low),
            ],
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn factors(block: *const u8, half: usize) -> [__m256; 2] {
        // SAFETY: the caller's.
        unsafe {
            let at = block.add(2 * LANES * half);
            [load_f16(at), load_f16(at.add(2 * ROWS))]
        }
    }
}
