//! Codes of a group of 32 as a strip holds them (see `weight/codes.rs`), a vector at a time: cells of
//! four consecutive k of sixteen rows, in bytes without sign.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cvtepu8_epi32,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_shuffle_epi8, _mm512_sll_epi16, _mm512_srl_epi16,
    _mm512_xor_si512,
};

use super::load;
use crate::weight::{iq4::STEPS, mxfp4::DOUBLED};

/// How codes lie in their sections, and what they stand for.
pub(super) trait Codes: Copy {
    /// Bytes of the codes of a row's group.
    const BYTES: usize;
    /// The code of zero, where nothing else says which it is.
    const CENTRE: i32;
    /// Whether they had a sign: then a zero of the format's own counts from the centre.
    const SIGNED: bool = false;
    /// Whether the four codes of a cell are k 0, 2, 1, 3.
    const SWAPPED: bool = false;

    /// Vector `v` of eight of one half of the rows.
    ///
    /// # Safety
    /// As for the folder: the codes of a group begin at `sections`.
    unsafe fn vector(sections: *const u8, half: usize, v: usize) -> __m512i;
}

/// Unsigned codes of `LOW` bits and, in a section of their own, `HIGH` more.
#[derive(Clone, Copy)]
pub(super) struct Bits<const LOW: usize, const HIGH: usize>;

impl<const LOW: usize, const HIGH: usize> Codes for Bits<LOW, HIGH> {
    const BYTES: usize = 4 * (LOW + HIGH);
    const CENTRE: i32 = 1 << (LOW + HIGH - 1);

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn vector(sections: *const u8, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let low = section::<LOW, 0>(sections, half, v);
            if HIGH == 0 {
                return low;
            }
            _mm512_or_si512(low, section::<HIGH, LOW>(sections.add(LOW * 128), half, v))
        }
    }
}

/// The codes of a section of `BITS`-bit codes, from bit `AT` of each byte on.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn section<const BITS: usize, const AT: usize>(
    section: *const u8,
    half: usize,
    v: usize,
) -> __m512i {
    let in_byte = 8 / BITS;
    // SAFETY: within the caller's section.
    let cells = unsafe { load(section.add((half * BITS + v / in_byte) * 64)) };
    let from = BITS * (v % in_byte);
    let cells = if from < AT {
        _mm512_sll_epi16(cells, count(AT - from))
    } else {
        _mm512_srl_epi16(cells, count(from - AT))
    };
    _mm512_and_si512(cells, _mm512_set1_epi8((((1_u32 << BITS) - 1) << AT) as i8))
}

/// Signed bytes, moved by 128.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

impl Codes for Bytes {
    const BYTES: usize = 32;
    const CENTRE: i32 = 128;
    const SIGNED: bool = true;
    const SWAPPED: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn vector(sections: *const u8, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        let bytes = unsafe { load(sections.add((half * 8 + v) * 64)) };
        _mm512_xor_si512(bytes, _mm512_set1_epi8(i8::MIN))
    }
}

/// The steps of IQ4, moved by 128.
#[derive(Clone, Copy)]
pub(super) struct Steps;

impl Codes for Steps {
    const BYTES: usize = 16;
    const CENTRE: i32 = 128;
    const SWAPPED: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn vector(sections: *const u8, half: usize, v: usize) -> __m512i {
        static TABLE: [u8; 16] = unsigned(&STEPS, Steps::CENTRE);
        // SAFETY: the caller's.
        named(&TABLE, unsafe { Bits::<4, 0>::vector(sections, half, v) })
    }
}

/// E2M1, twice its value moved by 12.
#[derive(Clone, Copy)]
pub(super) struct E2m1;

impl Codes for E2m1 {
    const BYTES: usize = 16;
    const CENTRE: i32 = 12;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn vector(sections: *const u8, half: usize, v: usize) -> __m512i {
        static TABLE: [u8; 16] = unsigned(&DOUBLED, E2m1::CENTRE);
        // SAFETY: the caller's.
        named(&TABLE, unsafe { Bits::<4, 0>::vector(sections, half, v) })
    }
}

/// A table moved by the centre of its codes.
const fn unsigned(values: &[i8; 16], centre: i32) -> [u8; 16] {
    let mut table = [0; 16];
    let mut code = 0;
    while code < 16 {
        table[code] = (values[code] as i32 + centre) as u8;
        code += 1;
    }
    table
}

/// What a table of sixteen bytes holds for each code.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn named(table: &[u8; 16], codes: __m512i) -> __m512i {
    // SAFETY: the table is one vector of 128 bits.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes)
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
