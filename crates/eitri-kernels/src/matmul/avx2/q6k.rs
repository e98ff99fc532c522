//! `Q6K` weights times 8-bit activations.
//!
//! Codes are unsigned with zero 32. A 16-bit lane sums the eight products of its half cell in a
//! sub-block of 16; starting it at -32 times the sum of its activations keeps the final value within
//! 8 * 32 * 127, whatever wraps on the way. Multiplying lane pairs by the sub-block's scale then
//! widens to 32 bits in the same instruction.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_ps, _mm256_setr_epi8,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16,
    _mm256_srai_epi16, _mm256_srli_epi16,
};

use super::{
    LANES, ROWS, StripCall, broadcast, by_tile, checked, float, load, load_f16, prefetch,
    prepare::Q6K_RECORD, record_pointers, store,
};
use crate::weight::GROUP;

/// Rows of activations per tile.
const TILE: usize = 4;
/// Values of k in a block.
pub(super) const BLOCK_K: usize = 256;
/// Bytes of a block in a strip.
pub(super) const BLOCK: usize = ROWS * 210;
/// Bytes of a group of 32 in a block.
pub(super) const GROUP_BYTES: usize = ROWS * 26;

/// Where group `g` of a block begins.
pub(super) const fn group_offset(g: usize) -> usize {
    2 * ROWS + g * GROUP_BYTES
}

/// `Q6K` weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q6k(call: &StripCall<'_>, out: &mut [f32]) {
    let blocks = call.k / BLOCK_K;
    checked(call, blocks * BLOCK, call.k / GROUP * Q6K_RECORD, out);
    by_tile!(TILE, call, tile, blocks, out);
}

/// The scales of both sub-blocks of a group for one half, each twice in a 32-bit cell.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn scales(group: *const u8, half: usize) -> [__m256i; 2] {
    // SAFETY: within the caller's group.
    let pairs = unsafe { _mm_loadu_si128(group.add(2 * LANES * half).cast()) };
    let pairs = _mm256_broadcastsi128_si256(pairs);
    // Each byte goes to the upper byte of a lane, so that a shift extends its sign.
    let first = _mm256_setr_epi8(
        -1, 0, -1, 0, -1, 2, -1, 2, -1, 4, -1, 4, -1, 6, -1, 6, //
        -1, 8, -1, 8, -1, 10, -1, 10, -1, 12, -1, 12, -1, 14, -1, 14,
    );
    let second = _mm256_setr_epi8(
        -1, 1, -1, 1, -1, 3, -1, 3, -1, 5, -1, 5, -1, 7, -1, 7, //
        -1, 9, -1, 9, -1, 11, -1, 11, -1, 13, -1, 13, -1, 15, -1, 15,
    );
    [first, second].map(|order| _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(pairs, order)))
}

/// Vector `v` of eight of one half's codes: cells of four consecutive k.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn codes(group: *const u8, half: usize, v: usize) -> __m256i {
    // SAFETY: within the caller's group.
    let (low, high) = unsafe {
        (
            load(group.add(2 * ROWS + half * 16 * LANES + v / 2 * 32)),
            load(group.add(18 * ROWS + half * 8 * LANES + v / 4 * 32)),
        )
    };
    let low = if v.is_multiple_of(2) { low } else { _mm256_srli_epi16::<4>(low) };
    let high = match v % 4 {
        0 => _mm256_slli_epi16::<4>(high),
        1 => _mm256_slli_epi16::<2>(high),
        2 => high,
        _ => _mm256_srli_epi16::<2>(high),
    };
    _mm256_or_si256(
        _mm256_and_si256(low, _mm256_set1_epi8(0x0f)),
        _mm256_and_si256(high, _mm256_set1_epi8(0x30)),
    )
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const M: usize>(call: &StripCall<'_>, start: usize, blocks: usize, out: &mut [f32]) {
    let mut acc = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the strip holds `blocks` blocks and each row a record for each of their groups.
    unsafe {
        let mut records = record_pointers::<M>(call, start, blocks * 8 * Q6K_RECORD);
        for b in 0..blocks {
            let block = call.strip.as_ptr().add(b * BLOCK);
            let mut part = [[_mm256_setzero_ps(); 2]; M];
            for g in 0..BLOCK_K / GROUP {
                let group = block.add(group_offset(g));
                if M < 4 {
                    prefetch::<GROUP_BYTES>(group);
                }
                let scale = [scales(group, 0), scales(group, 1)];
                let mut sums = [[_mm256_setzero_si256(); 2]; M];
                for sub in 0..2 {
                    let mut lanes = [[_mm256_setzero_si256(); 2]; M];
                    for m in 0..M {
                        lanes[m] = [broadcast(records[m].add(36 + 4 * sub)); 2];
                    }
                    for v in 4 * sub..4 * sub + 4 {
                        let w = [codes(group, 0, v), codes(group, 1, v)];
                        for m in 0..M {
                            let x = broadcast(records[m].add(4 * v));
                            for half in 0..2 {
                                let products = _mm256_maddubs_epi16(w[half], x);
                                lanes[m][half] = _mm256_add_epi16(lanes[m][half], products);
                            }
                        }
                    }
                    for m in 0..M {
                        for half in 0..2 {
                            let products = _mm256_madd_epi16(lanes[m][half], scale[half][sub]);
                            sums[m][half] = _mm256_add_epi32(sums[m][half], products);
                        }
                    }
                }
                for m in 0..M {
                    let d = _mm256_set1_ps(float(records[m].add(32)));
                    for half in 0..2 {
                        let sum = _mm256_cvtepi32_ps(sums[m][half]);
                        part[m][half] = _mm256_fmadd_ps(sum, d, part[m][half]);
                    }
                    records[m] = records[m].add(Q6K_RECORD);
                }
            }
            for half in 0..2 {
                let d = load_f16(block.add(2 * LANES * half));
                for m in 0..M {
                    acc[m][half] = _mm256_fmadd_ps(part[m][half], d, acc[m][half]);
                }
            }
        }
    }
    store(&acc, start, out);
}
