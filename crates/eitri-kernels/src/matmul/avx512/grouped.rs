//! `Grouped` integer weights.

use std::arch::x86_64::{
    __m512, __m512i, _mm_loadu_si128, _mm512_castsi512_ps, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32, _mm512_loadu_ps,
    _mm512_mul_ps, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_sub_ps,
};

use super::{
    LANES, ROWS,
    codes::{bytes, nibbles},
    integer::{Format, Parameters},
    load_half,
    plain::{SIGNED, unsigned},
    row_f16,
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
    unsafe fn middles<const IS_SIGNED: bool>(
        self,
        group: usize,
        scale: [__m512; 2],
    ) -> [__m512; 2] {
        let mut middles = [_mm512_setzero_ps(); 2];
        for half in 0..2 {
            // SAFETY: within the caller's block.
            let zeros = unsafe {
                let at = ROWS * self.scale.bytes() + half * LANES;
                _mm_loadu_si128(self.block(group).add(at).cast())
            };
            let zeros =
                if IS_SIGNED { _mm512_cvtepi8_epi32(zeros) } else { _mm512_cvtepu8_epi32(zeros) };
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

/// A kind of codes with or without zeros.
macro_rules! format {
    ($name:ident, signed: $signed:literal, zero: $zero:literal, centre: $centre:expr) => {
        #[doc = concat!("`Grouped` weights of `Codes::", stringify!($name), "`.")]
        #[derive(Clone, Copy)]
        pub(super) struct $name(Blocks);

        impl Format for $name {
            const CENTRE: i32 = $centre;
            const MIDDLE: bool = $zero;
            const SWAPPED: bool = $signed;

            fn of(call: &StripCall<'_>) -> (Self, usize) {
                let (blocks, bytes) = Blocks::of(call);
                (Self(blocks), bytes)
            }

            #[inline]
            #[target_feature(enable = "avx512bw,avx512vnni")]
            unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i {
                // SAFETY: the caller's.
                unsafe {
                    let section = self.0.codes(group);
                    if $signed {
                        unsigned(bytes(section, half, v))
                    } else {
                        nibbles(section, half, v)
                    }
                }
            }

            #[inline]
            #[target_feature(enable = "avx512bw,avx512vnni")]
            unsafe fn parameters(self, group: usize) -> Parameters {
                // SAFETY: the caller's.
                unsafe {
                    let scale = self.0.scales(group);
                    if $zero {
                        Parameters::with_middle(scale, self.0.middles::<$signed>(group, scale))
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
    };
}

format!(U4, signed: false, zero: false, centre: 8);
format!(U4Zero, signed: false, zero: true, centre: 0);
format!(I8, signed: true, zero: false, centre: SIGNED);
format!(I8Zero, signed: true, zero: true, centre: SIGNED);
