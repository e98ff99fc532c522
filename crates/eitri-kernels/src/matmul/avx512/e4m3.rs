//! `Grouped` weights of `E4m3` times f32 activations: codes become halves by shifts, and singles by
//! the conversion instruction.

use std::arch::x86_64::{
    __m256i, __m512, _mm512_and_si512, _mm512_castsi512_si256, _mm512_cvtepi8_epi16,
    _mm512_cvtph_ps, _mm512_extracti64x4_epi64, _mm512_mul_ps, _mm512_set1_epi16, _mm512_set1_ps,
    _mm512_slli_epi16,
};

use super::{
    ROWS, checked,
    exact::{self, Values},
    grouped::Blocks,
    load_half,
};
use crate::matmul::StripCall;

/// E4M3 fields read as a half are 2^8 too small: the biases are 7 and 15.
pub(super) const FROM_HALF: f32 = 256.0;

/// An E4M3 code of each row, over [`FROM_HALF`]. Copies of the sign fill the upper bytes; the mask
/// takes out the one that is in the exponent's way.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn halves(codes: __m256i) -> [__m512; 2] {
    let mask = _mm512_set1_epi16(0xBF80_u16.cast_signed());
    let words = _mm512_slli_epi16::<7>(_mm512_cvtepi8_epi16(codes));
    let words = _mm512_and_si512(words, mask);
    [
        _mm512_cvtph_ps(_mm512_castsi512_si256(words)),
        _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(words)),
    ]
}

/// A strip.
#[derive(Clone, Copy)]
pub(super) struct E4m3(pub(super) Blocks);

impl E4m3 {
    /// Address of the codes of a group, a byte of every row for each k.
    #[inline]
    pub(super) unsafe fn codes(self, group: usize) -> *const u8 {
        // SAFETY: the caller's strip holds the group.
        unsafe { self.0.codes(group) }
    }
}

impl Values for E4m3 {
    type Group = [__m512; 2];

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn group(self, group: usize) -> [__m512; 2] {
        let factor = _mm512_set1_ps(FROM_HALF);
        // SAFETY: the caller's.
        let [low, high] = unsafe { self.0.scales(group) };
        [_mm512_mul_ps(low, factor), _mm512_mul_ps(high, factor)]
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn four(self, scale: &[__m512; 2], group: usize, v: usize) -> [[__m512; 2]; 4] {
        let mut values = [*scale; 4];
        for k in 0..4 {
            // SAFETY: the caller's.
            let [low, high] =
                halves(unsafe { load_half(self.codes(group).add((4 * v + k) * ROWS)) });
            values[k] = [_mm512_mul_ps(low, scale[0]), _mm512_mul_ps(high, scale[1])];
        }
        values
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) fn multiply(call: &StripCall<'_>, out: &mut [f32]) {
    let (blocks, bytes) = Blocks::of(call);
    checked(call, bytes, 0, out);
    // SAFETY: sizes are checked.
    unsafe { exact::multiply(E4m3(blocks), call, out) };
}
