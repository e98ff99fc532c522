//! `Grouped` integer weights.

use std::{
    arch::x86_64::{
        __m512, __m512i, _mm_loadu_si128, _mm512_castsi512_ps, _mm512_cvtepi8_epi32,
        _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32, _mm512_loadu_ps,
        _mm512_mul_ps, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_sub_ps,
    },
    marker::PhantomData,
};

use super::{
    LANES, ROWS,
    codes::Codes,
    integer::{Format, Parameters},
    load_half, row_f16,
};
use crate::{Grouped, ScaleType, WeightFormat, matmul::StripCall, weight::GROUP};

/// The blocks of a strip.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    strip: *const u8,
    scale: ScaleType,
    /// Groups of 32 k in a block, as a number of bits.
    groups_log2: u32,
    /// Bytes of each block.
    bytes: usize,
    /// Where a block's codes begin.
    codes: usize,
    /// Bytes of 32 k of codes.
    section: usize,
}

impl Blocks {
    /// Those of a call, and how many bytes they must have.
    pub(super) fn of(call: &StripCall<'_>) -> (Self, usize) {
        let WeightFormat::Grouped(format) = call.format else {
            unreachable!("the kernel was picked for grouped weights");
        };
        let Grouped { codes, scale, group } = format;
        let blocks = Self {
            strip: call.strip.as_ptr(),
            scale,
            groups_log2: (group.size() / GROUP).ilog2(),
            bytes: ROWS * format.group_bytes(),
            codes: format.codes_offset(ROWS),
            section: ROWS * codes.bytes(GROUP),
        };
        (blocks, call.k / group.size() * blocks.bytes)
    }

    /// Address of the block of a group.
    #[inline]
    unsafe fn block(self, group: usize) -> *const u8 {
        // SAFETY: the caller's strip holds the block.
        unsafe { self.strip.add((group >> self.groups_log2) * self.bytes) }
    }

    /// Address of the codes of a group.
    #[inline]
    pub(super) unsafe fn codes(self, group: usize) -> *const u8 {
        let section = group & ((1 << self.groups_log2) - 1);
        // SAFETY: the caller's strip holds the group.
        unsafe { self.block(group).add(self.codes + section * self.section) }
    }

    /// Scales of the block of a group.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    pub(super) unsafe fn scales(self, group: usize) -> [__m512; 2] {
        // SAFETY: within the caller's block.
        unsafe {
            let block = self.block(group);
            match self.scale {
                ScaleType::F16 => row_f16(block),
                ScaleType::Bf16 => [load_bf16(block), load_bf16(block.add(2 * LANES))],
                ScaleType::F32 => {
                    [_mm512_loadu_ps(block.cast()), _mm512_loadu_ps(block.add(4 * LANES).cast())]
                }
            }
        }
    }

    /// Minus the zeros of the block of a group, times their scales.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn middles(self, group: usize, scale: [__m512; 2], signed: bool) -> [__m512; 2] {
        let mut middles = [_mm512_setzero_ps(); 2];
        for half in 0..2 {
            // SAFETY: within the caller's block.
            let zeros = unsafe {
                let at = ROWS * self.scale.bytes() + half * LANES;
                _mm_loadu_si128(self.block(group).add(at).cast())
            };
            let zeros =
                if signed { _mm512_cvtepi8_epi32(zeros) } else { _mm512_cvtepu8_epi32(zeros) };
            let minus = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_cvtepi32_ps(zeros));
            middles[half] = _mm512_mul_ps(minus, scale[half]);
        }
        middles
    }

    #[inline]
    pub(super) fn place(self, group: usize) -> (*const u8, usize) {
        let bytes = self.bytes >> self.groups_log2;
        (self.strip.wrapping_add(group * bytes), bytes)
    }
}

/// Sixteen bf16 values as f32.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) unsafe fn load_bf16(p: *const u8) -> __m512 {
    // SAFETY: the caller's address has 32 bytes left.
    let values = _mm512_cvtepu16_epi32(unsafe { load_half(p) });
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(values))
}

/// Weights of some kind of codes with or without zeros.
#[derive(Clone, Copy)]
pub(super) struct Integers<C, const ZERO: bool>(Blocks, PhantomData<C>);

impl<C: Codes, const ZERO: bool> Format for Integers<C, ZERO> {
    const CENTRE: i32 = if ZERO && !C::SIGNED { 0 } else { C::CENTRE };
    const MIDDLE: bool = ZERO;
    const SWAPPED: bool = C::SWAPPED;

    fn of(call: &StripCall<'_>) -> (Self, usize) {
        let (blocks, bytes) = Blocks::of(call);
        (Self(blocks, PhantomData), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { C::vector(self.0.codes(group), half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe {
            let scale = self.0.scales(group);
            if ZERO {
                Parameters::with_middle(scale, self.0.middles(group, scale, C::SIGNED))
            } else {
                Parameters::scale(scale)
            }
        }
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}
