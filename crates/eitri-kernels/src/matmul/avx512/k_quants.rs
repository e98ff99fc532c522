//! ggml's formats with blocks of 256 values: `Q2K` to `Q6K` and `Iq4Xs`.

use std::{
    arch::x86_64::{
        __m256i, __m512, __m512i, _mm256_and_si256, _mm256_castsi256_si128,
        _mm256_extracti128_si256, _mm256_or_si256, _mm256_set1_epi8, _mm256_slli_epi16,
        _mm256_srl_epi16, _mm256_srli_epi16, _mm256_sub_epi8, _mm512_and_si512,
        _mm512_cvtepi8_epi16, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi16,
        _mm512_mul_ps, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_srai_epi32,
        _mm512_srli_epi32, _mm512_sub_ps,
    },
    marker::PhantomData,
};

use super::{
    ROWS,
    codes::{Bits, Codes, Steps, count, wide},
    integer::{Format, Parameters},
    load_half, row_f16,
};
use crate::{matmul::StripCall, weight::GROUP};

/// Values of k in a block.
const BLOCK_K: usize = 256;
/// Groups of 32 in a block.
const GROUPS: usize = BLOCK_K / GROUP;

/// The blocks of a strip, `BYTES` of each row.
#[derive(Clone, Copy)]
struct Blocks<const BYTES: usize>(*const u8);

impl<const BYTES: usize> Blocks<BYTES> {
    fn of(call: &StripCall<'_>) -> (Self, usize) {
        (Self(call.strip.as_ptr()), call.k / BLOCK_K * BYTES * ROWS)
    }

    /// The block of a group, and the group's place in it.
    #[inline]
    unsafe fn block(self, group: usize) -> (*const u8, usize) {
        // SAFETY: the caller's strip holds the group.
        (unsafe { self.0.add(group / GROUPS * BYTES * ROWS) }, group % GROUPS)
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        let bytes = BYTES * ROWS / GROUPS;
        (self.0.wrapping_add(group * bytes), bytes)
    }
}

/// Two 6-bit numbers of each row: low bits in the halves of a byte of `low`, high bits in four bits of
/// `high` from `shift` (0 or 4) on. Shifts carry bits of the next byte along, which the masks take out.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn six_bits(low: __m256i, high: __m256i, shift: usize) -> [__m256i; 2] {
    let high = _mm256_slli_epi16::<4>(_mm256_srl_epi16(high, count(shift)));
    let (low_mask, high_mask) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    [
        _mm256_or_si256(_mm256_and_si256(low, low_mask), _mm256_and_si256(high, high_mask)),
        _mm256_or_si256(
            _mm256_and_si256(_mm256_srli_epi16::<4>(low), low_mask),
            _mm256_and_si256(_mm256_srli_epi16::<2>(high), high_mask),
        ),
    ]
}

/// A signed byte of each row as floats.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn signed(bytes: __m256i) -> [__m512; 2] {
    let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
    [_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(low)), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(high))]
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn times(a: [__m512; 2], b: [__m512; 2]) -> [__m512; 2] {
    [_mm512_mul_ps(a[0], b[0]), _mm512_mul_ps(a[1], b[1])]
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn negative(a: [__m512; 2]) -> [__m512; 2] {
    let zero = _mm512_setzero_ps();
    [_mm512_sub_ps(zero, a[0]), _mm512_sub_ps(zero, a[1])]
}

/// `Q4K` with blocks of 144 bytes, `Q5K` with blocks of 176.
#[derive(Clone, Copy)]
pub(super) struct Q45K<C, const BYTES: usize>(Blocks<BYTES>, PhantomData<C>);

impl<C: Codes, const BYTES: usize> Format for Q45K<C, BYTES> {
    const CENTRE: i32 = 0;
    const MIDDLE: bool = true;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (blocks, bytes) = Blocks::of(call);
        (Self(blocks, PhantomData), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            C::vector(block.add((16 + group * C::BYTES) * ROWS), half, v)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            let low = load_half(block.add((4 + group) * ROWS));
            let high = load_half(block.add((12 + group / 2) * ROWS));
            let [scales, minima] = six_bits(low, high, 4 * (group % 2));
            let scale = times(row_f16(block), floats(wide(scales)));
            let minimum = times(row_f16(block.add(2 * ROWS)), floats(wide(minima)));
            Parameters::with_middle(scale, negative(minimum))
        }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}

/// Two bytes of each row, first and second ones apart, sign extended if `SIGNED`.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn byte_pairs<const SIGNED: bool>(p: *const u8) -> [[__m512i; 2]; 2] {
    let mut pairs = [[_mm512_set1_epi32(0); 2]; 2];
    for half in 0..2 {
        // SAFETY: the caller's address has two bytes left for each row.
        let bytes = unsafe { load_half(p.add(half * ROWS)) };
        if SIGNED {
            let words = _mm512_cvtepi8_epi16(bytes);
            pairs[0][half] = _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(words));
            pairs[1][half] = _mm512_srai_epi32::<16>(words);
        } else {
            let words = _mm512_cvtepu8_epi16(bytes);
            pairs[0][half] = _mm512_and_si512(words, _mm512_set1_epi32(255));
            pairs[1][half] = _mm512_srli_epi32::<16>(words);
        }
    }
    pairs
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn floats(integers: [__m512i; 2]) -> [__m512; 2] {
    [_mm512_cvtepi32_ps(integers[0]), _mm512_cvtepi32_ps(integers[1])]
}

/// `Q6K`.
#[derive(Clone, Copy)]
pub(super) struct Q6K(Blocks<210>);

impl Format for Q6K {
    const CENTRE: i32 = Bits::<4, 2>::CENTRE;
    const MIDDLE: bool = false;
    const SCALES: usize = 2;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (blocks, bytes) = Blocks::of(call);
        (Self(blocks), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            Bits::<4, 2>::vector(block.add((2 + 26 * group + 2) * ROWS), half, v)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            let d = row_f16(block);
            let [first, second] = byte_pairs::<true>(block.add((2 + 26 * group) * ROWS));
            Parameters::scales([times(d, floats(first)), times(d, floats(second))])
        }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}

/// `Q3K`.
#[derive(Clone, Copy)]
pub(super) struct Q3K(Blocks<110>);

impl Format for Q3K {
    const CENTRE: i32 = Bits::<2, 1>::CENTRE;
    const MIDDLE: bool = false;
    const SCALES: usize = 2;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (blocks, bytes) = Blocks::of(call);
        (Self(blocks), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            Bits::<2, 1>::vector(block.add((14 + 12 * group) * ROWS), half, v)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            let low = load_half(block.add((2 + group) * ROWS));
            let high = load_half(block.add((10 + group / 2) * ROWS));
            let [first, second] = six_bits(low, high, 4 * (group % 2));
            let (d, centre) = (row_f16(block), _mm256_set1_epi8(32));
            Parameters::scales([
                times(d, signed(_mm256_sub_epi8(first, centre))),
                times(d, signed(_mm256_sub_epi8(second, centre))),
            ])
        }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}

/// `Q2K`.
#[derive(Clone, Copy)]
pub(super) struct Q2K(Blocks<84>);

impl Format for Q2K {
    const CENTRE: i32 = 0;
    const MIDDLE: bool = true;
    const SCALES: usize = 2;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (blocks, bytes) = Blocks::of(call);
        (Self(blocks), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            Bits::<2, 0>::vector(block.add((4 + 10 * group + 2) * ROWS), half, v)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        let low = _mm512_set1_epi32(15);
        let mut parameters = Parameters::scale([_mm512_setzero_ps(); 2]);
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            let (d, dmin) = (row_f16(block), negative(row_f16(block.add(2 * ROWS))));
            let bytes = byte_pairs::<false>(block.add((4 + 10 * group) * ROWS));
            for s in 0..2 {
                for half in 0..2 {
                    let scale = _mm512_cvtepi32_ps(_mm512_and_si512(bytes[s][half], low));
                    let minimum = _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(bytes[s][half]));
                    parameters.scale[s][half] = _mm512_mul_ps(d[half], scale);
                    parameters.middle[s][half] = _mm512_mul_ps(dmin[half], minimum);
                }
            }
        }
        parameters
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}

/// `Iq4Xs`.
#[derive(Clone, Copy)]
pub(super) struct Iq4Xs(Blocks<136>);

impl Format for Iq4Xs {
    const CENTRE: i32 = Steps::CENTRE;
    const MIDDLE: bool = false;
    const SWAPPED: bool = Steps::SWAPPED;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (blocks, bytes) = Blocks::of(call);
        (Self(blocks), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            Steps::vector(block.add((8 + 16 * group) * ROWS), half, v)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe {
            let (block, group) = self.0.block(group);
            let low = load_half(block.add((2 + group / 2) * ROWS));
            let high = load_half(block.add((6 + group / 4) * ROWS));
            let low = _mm256_srl_epi16(low, count(4 * (group % 2)));
            let high = _mm256_slli_epi16::<4>(_mm256_srl_epi16(high, count(2 * (group % 4))));
            let scale = _mm256_or_si256(
                _mm256_and_si256(low, _mm256_set1_epi8(15)),
                _mm256_and_si256(high, _mm256_set1_epi8(0x30)),
            );
            let scale = signed(_mm256_sub_epi8(scale, _mm256_set1_epi8(32)));
            Parameters::scale(times(row_f16(block), scale))
        }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}
