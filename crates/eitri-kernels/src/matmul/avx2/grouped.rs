//! `Grouped` integer weights times integer activations: 4-bit codes meet 8 bits, 8-bit codes 16, as
//! in `U4` and `I8`. A zero is taken off after the sum: `(sum - zero * sum of activations) * scale`.

use std::arch::x86_64::{
    __m256, _mm_loadl_epi64, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_castsi256_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtepu16_epi32, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_slli_epi32,
    _mm256_srai_epi16, _mm256_srli_epi16,
};

use super::{
    LANES, ROWS, StripCall, broadcast, by_tile, checked, float, load, load_f16, pinned, prefetch,
    prepare::{I8_RECORD, I16_SUM_RECORD},
    record_pointers, store,
};
use crate::{Codes, Grouped, ScaleType, WeightFormat, weight::GROUP};

/// Rows of activations per tile: ten registers of sums leave room for codes, operand and product.
const TILE: usize = 5;

/// The blocks of a strip.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub(super) format: Grouped,
    /// How many.
    pub(super) count: usize,
    /// Bytes of each.
    bytes: usize,
    /// Bytes of 32 k of codes.
    section: usize,
}

impl Blocks {
    /// Those of a call, whose slices are checked against them.
    pub(super) fn of(call: &StripCall<'_>, record: usize, out: &[f32]) -> Self {
        let WeightFormat::Grouped(format) = call.format else {
            unreachable!("the kernel was picked for grouped weights");
        };
        let (count, bytes) = (call.k / format.group.size(), ROWS * format.group_bytes());
        checked(call, count * bytes, call.k / GROUP * record, out);
        Self { format, count, bytes, section: ROWS * format.codes.bytes(GROUP) }
    }

    /// Sections of 32 k in a block.
    pub(super) fn sections(self) -> usize {
        self.format.group.size() / GROUP
    }

    /// Address of block `b`.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn block(self, strip: *const u8, b: usize) -> *const u8 {
        // SAFETY: the caller's strip holds the block.
        unsafe { strip.add(b * self.bytes) }
    }

    /// Address of section `s` of a block.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn codes(self, block: *const u8, s: usize) -> *const u8 {
        // SAFETY: the caller's block holds the section.
        unsafe { block.add(self.format.codes_offset(ROWS) + s * self.section) }
    }

    /// Scales of both halves of the rows.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn scales(self, block: *const u8) -> [__m256; 2] {
        // SAFETY: within the caller's block.
        unsafe {
            match self.format.scale {
                ScaleType::F16 => [load_f16(block), load_f16(block.add(2 * LANES))],
                ScaleType::Bf16 => [load_bf16(block), load_bf16(block.add(2 * LANES))],
                ScaleType::F32 => {
                    [_mm256_loadu_ps(block.cast()), _mm256_loadu_ps(block.add(4 * LANES).cast())]
                }
            }
        }
    }

    /// Zeros of both halves of the rows.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn zeros(self, block: *const u8) -> [__m256; 2] {
        let mut zeros = [_mm256_setzero_ps(); 2];
        for half in 0..2 {
            zeros[half] = match self.format.codes {
                Codes::U4 => _mm256_set1_ps(8.0),
                Codes::U4Zero | Codes::I8Zero => {
                    let at = ROWS * self.format.scale.bytes() + half * LANES;
                    // SAFETY: within the caller's block.
                    let bytes = unsafe { _mm_loadl_epi64(block.add(at).cast()) };
                    _mm256_cvtepi32_ps(if self.format.codes == Codes::U4Zero {
                        _mm256_cvtepu8_epi32(bytes)
                    } else {
                        _mm256_cvtepi8_epi32(bytes)
                    })
                }
                Codes::I8 | Codes::E4m3 => _mm256_setzero_ps(),
            };
        }
        zeros
    }
}

/// Eight bf16 values as f32.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_bf16(p: *const u8) -> __m256 {
    // SAFETY: the caller's address is inside a strip with 16 bytes left.
    let values = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(p.cast()) });
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(values))
}

/// 4-bit codes times 8-bit activations.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn u4(call: &StripCall<'_>, out: &mut [f32]) {
    let blocks = Blocks::of(call, I8_RECORD, out);
    by_tile!(TILE, call, u4_tile, blocks, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn u4_tile<const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    blocks: Blocks,
    out: &mut [f32],
) {
    let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
    let mut acc = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the strip holds all blocks and each row a record for each of their sections.
    unsafe {
        let mut records = record_pointers::<M>(call, start, call.k / GROUP * I8_RECORD);
        for b in 0..blocks.count {
            let block = blocks.block(call.strip.as_ptr(), b);
            let (scale, zero) = (blocks.scales(block), blocks.zeros(block));
            for s in 0..blocks.sections() {
                let codes = blocks.codes(block, s);
                if M < 4 {
                    prefetch::<320>(codes);
                }
                // As for `U4`: at most 8 * 2 * 15 * 127 in a lane.
                let mut sums = [[_mm256_setzero_si256(); 2]; M];
                for v in 0..GROUP / 8 {
                    for nibble in 0..2 {
                        let second = codes.add(LANES * GROUP / 2);
                        let mut w = [load(codes.add(32 * v)), load(second.add(32 * v))];
                        for w in &mut w {
                            let cells = if nibble == 0 { *w } else { _mm256_srli_epi16::<4>(*w) };
                            *w = _mm256_and_si256(cells, low);
                        }
                        for m in 0..M {
                            let x = broadcast(records[m].add(8 * v + 4 * nibble));
                            for half in 0..2 {
                                let products = _mm256_maddubs_epi16(w[half], x);
                                sums[m][half] = pinned(_mm256_add_epi16(sums[m][half], products));
                            }
                        }
                    }
                }
                for m in 0..M {
                    let d = _mm256_set1_ps(float(records[m].add(32)));
                    let offset = _mm256_set1_ps(float(records[m].add(36)));
                    for half in 0..2 {
                        let sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums[m][half], ones));
                        let sum = _mm256_fnmadd_ps(zero[half], offset, _mm256_mul_ps(sum, d));
                        acc[m][half] = _mm256_fmadd_ps(sum, scale[half], acc[m][half]);
                    }
                    records[m] = records[m].add(I8_RECORD);
                }
            }
        }
    }
    store(&acc, start, out);
}

/// 8-bit codes times 16-bit activations.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn i8(call: &StripCall<'_>, out: &mut [f32]) {
    let blocks = Blocks::of(call, I16_SUM_RECORD, out);
    by_tile!(TILE, call, i8_tile, blocks, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn i8_tile<const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    blocks: Blocks,
    out: &mut [f32],
) {
    let mut acc = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the strip holds all blocks and each row a record for each of their sections.
    unsafe {
        let mut records = record_pointers::<M>(call, start, call.k / GROUP * I16_SUM_RECORD);
        for b in 0..blocks.count {
            let block = blocks.block(call.strip.as_ptr(), b);
            let (scale, zero) = (blocks.scales(block), blocks.zeros(block));
            for s in 0..blocks.sections() {
                let codes = blocks.codes(block, s);
                if M < 4 {
                    prefetch::<{ ROWS * GROUP + 64 }>(codes);
                }
                // As for `I8`: at most 32 * 128 * 32767 in a lane.
                let mut sums = [[_mm256_setzero_si256(); 2]; M];
                for v in 0..GROUP / 4 {
                    for odd in 0..2 {
                        let second = codes.add(LANES * GROUP);
                        let mut w = [load(codes.add(32 * v)), load(second.add(32 * v))];
                        for w in &mut w {
                            let cells = if odd == 0 { _mm256_slli_epi16::<8>(*w) } else { *w };
                            *w = _mm256_srai_epi16::<8>(cells);
                        }
                        for m in 0..M {
                            let x = broadcast(records[m].add(8 * v + 4 * odd));
                            for half in 0..2 {
                                let products = _mm256_madd_epi16(w[half], x);
                                sums[m][half] = pinned(_mm256_add_epi32(sums[m][half], products));
                            }
                        }
                    }
                }
                for m in 0..M {
                    let d = _mm256_set1_ps(float(records[m].add(64)));
                    let offset = _mm256_set1_ps(float(records[m].add(68)));
                    for half in 0..2 {
                        let sum = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[m][half]), d);
                        let sum = _mm256_fnmadd_ps(zero[half], offset, sum);
                        acc[m][half] = _mm256_fmadd_ps(sum, scale[half], acc[m][half]);
                    }
                    records[m] = records[m].add(I16_SUM_RECORD);
                }
            }
        }
    }
    store(&acc, start, out);
}

/// Integer codes of section `s` of a block, less their zero, times their scale: `[GROUP][ROWS]`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen_integers(
    blocks: Blocks,
    block: *const u8,
    s: usize,
    out: &mut [[f32; ROWS]],
) {
    // SAFETY: within the caller's block.
    unsafe {
        let (scale, zero) = (blocks.scales(block), blocks.zeros(block));
        let codes = blocks.codes(block, s);
        prefetch::<{ ROWS * GROUP + 64 }>(codes);
        for half in 0..2 {
            match blocks.format.codes {
                Codes::U4 | Codes::U4Zero => {
                    let codes = codes.add(half * LANES * GROUP / 2);
                    super::exact::widen_nibbles(codes, half, (scale[half], zero[half]), out);
                }
                _ => {
                    let codes = codes.add(half * LANES * GROUP);
                    super::exact::widen_bytes(codes, half, (scale[half], zero[half]), out);
                }
            }
        }
    }
}
