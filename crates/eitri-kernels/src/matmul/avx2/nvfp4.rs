//! `Nvfp4` weights times 8-bit activations.
//!
//! Twice a code's value is an integer, made unsigned by a centre of 12. A 16-bit lane sums the eight
//! products of its half cell in a block of 16; it starts at minus the centre times the sum of its
//! activations, which keeps the final value within 8 * 12 * 127, whatever wraps on the way. Scales
//! are read as halves; what they lack, and the scale of the row, is multiplied at the end.
//!
//! A few rows are multiplied while the strip is unpacked. With more, eight groups are unpacked into
//! the first-level cache for all of them. Both are the same operations in the same order.

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_broadcastsi128_si256,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srai_epi32,
    _mm256_storeu_ps,
};

use super::{
    LANES, ROWS, StripCall, broadcast, checked,
    codes::nibbles,
    e4m3, exact, float,
    mxfp4::{CENTRE, UNSIGNED},
    pinned, prefetch_bytes,
    prepare::GROUP16_RECORD,
    record_pointers, store,
};
use crate::{
    matmul::{MAX_ROWS, tiles},
    weight::{GROUP, mxfp4::DOUBLED},
};

/// Rows of activations per tile.
const TILE: usize = 4;
/// Groups that are unpacked together.
const PIECE: usize = 8;
/// Vectors of codes of a group for each half of a strip.
const VECTORS: usize = GROUP / 4;
/// Bytes of a group of 32 in a strip.
const GROUP_BYTES: usize = 18 * ROWS;
/// Bytes of the rows' scales at the beginning of a strip.
const HEADER: usize = 4 * ROWS;
/// What E4M3 fields read as a half lack, over the two by which codes are too large.
const FACTOR: f32 = 256.0 / 2.0;

/// Minus the centre of the codes, for the records of activations.
pub(super) const MINUS_CENTRE: i16 = -(CENTRE as i16);

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn table(values: *const u8) -> __m256i {
    // SAFETY: the caller's table is one vector of 128 bits.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(values.cast()) })
}

/// Scales of the rows, times [`FACTOR`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn row_scales(strip: *const u8) -> [__m256; 2] {
    let factor = _mm256_set1_ps(FACTOR);
    // SAFETY: the caller's strip begins with the scales of its rows.
    unsafe {
        [
            _mm256_mul_ps(_mm256_loadu_ps(strip.cast()), factor),
            _mm256_mul_ps(_mm256_loadu_ps(strip.add(4 * LANES).cast()), factor),
        ]
    }
}

/// Scales of the first and of the second 16 values of a group for both halves of the rows, over
/// [`FACTOR`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scales(group: *const u8) -> [[__m256; 2]; 2] {
    // SAFETY: the caller's group begins with two bytes for each row.
    unsafe {
        let [a, b] = e4m3::halves(_mm_loadu_si128(group.cast()));
        let [c, d] = e4m3::halves(_mm_loadu_si128(group.add(ROWS).cast()));
        [[_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)], [_mm256_cvtph_ps(c), _mm256_cvtph_ps(d)]]
    }
}

/// Where a tile's weights come from.
trait Source {
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m256i;
    unsafe fn scales(&self, group: usize) -> [[__m256; 2]; 2];
    unsafe fn request(&self, group: usize);
}

/// The groups of a strip as they are.
struct Packed(*const u8);

impl Source for Packed {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let section = self.0.add(group * GROUP_BYTES + 2 * ROWS);
            _mm256_shuffle_epi8(table(UNSIGNED.as_ptr()), nibbles(section, half, v))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(&self, group: usize) -> [[__m256; 2]; 2] {
        // SAFETY: the caller's.
        unsafe { scales(self.0.add(group * GROUP_BYTES)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, group: usize) {
        prefetch_bytes(self.0.wrapping_add(group * GROUP_BYTES), GROUP_BYTES);
    }
}

/// Unpacked groups.
struct Piece {
    codes: [[[__m256i; 2]; VECTORS]; PIECE],
    scales: [[[__m256; 2]; 2]; PIECE],
}

impl Source for Piece {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m256i {
        self.codes[group][v][half]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(&self, group: usize) -> [[__m256; 2]; 2] {
        self.scales[group]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn request(&self, _: usize) {}
}

impl Piece {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(&mut self, strip: &Packed, first: usize, count: usize) {
        // SAFETY: the caller's strip holds the groups.
        unsafe {
            for g in 0..count {
                strip.request(first + g);
                for v in 0..VECTORS {
                    for half in 0..2 {
                        self.codes[g][v][half] = strip.codes(first + g, half, v);
                    }
                }
                self.scales[g] = strip.scales(first + g);
            }
        }
    }
}

fn checked_groups(call: &StripCall<'_>, record: usize, out: &[f32]) -> usize {
    let groups = call.k / GROUP;
    checked(call, HEADER + groups * GROUP_BYTES, groups * record, out);
    groups
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply(call: &StripCall<'_>, out: &mut [f32]) {
    let groups = checked_groups(call, GROUP16_RECORD, out);
    // SAFETY: the checked strip is longer than its header.
    let strip = Packed(unsafe { call.strip.as_ptr().add(HEADER) });
    let mut sums = [[_mm256_setzero_ps(); 2]; MAX_ROWS];
    let rows = call.rows.len();
    if rows <= TILE {
        // SAFETY: sizes are checked.
        unsafe { rows_of(&strip, 0..groups, call, (0, rows), &mut sums) };
    } else {
        let mut piece = Piece {
            codes: [[[_mm256_setzero_si256(); 2]; VECTORS]; PIECE],
            scales: [[[_mm256_setzero_ps(); 2]; 2]; PIECE],
        };
        for first in (0..groups).step_by(PIECE) {
            let end = groups.min(first + PIECE);
            // SAFETY: the checked strip holds these groups.
            unsafe { piece.unpack(&strip, first, end - first) };
            tiles(rows, TILE, |start, size| {
                // SAFETY: sizes are checked; `start + size` is at most the number of rows.
                unsafe { rows_of(&piece, first..end, call, (start, size), &mut sums[start..]) };
            });
        }
    }
    // SAFETY: the checked strip has a header.
    let [low, high] = unsafe { row_scales(call.strip.as_ptr()) };
    for (row, &[a, b]) in sums.iter().take(rows).enumerate() {
        store(&[[_mm256_mul_ps(a, low), _mm256_mul_ps(b, high)]], row, out);
    }
}

/// Adds the products of some groups, which are the first ones of `source`, to the sums of `size`
/// rows from `start` on.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows_of<S: Source>(
    source: &S,
    groups: std::ops::Range<usize>,
    call: &StripCall<'_>,
    (start, size): (usize, usize),
    sums: &mut [[__m256; 2]],
) {
    // SAFETY: the caller's.
    unsafe {
        match size {
            0 => {}
            1 => tile::<S, 1>(source, groups, call, start, sums),
            2 => tile::<S, 2>(source, groups, call, start, sums),
            3 => tile::<S, 3>(source, groups, call, start, sums),
            _ => tile::<S, TILE>(source, groups, call, start, sums),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<S: Source, const M: usize>(
    source: &S,
    groups: std::ops::Range<usize>,
    call: &StripCall<'_>,
    start: usize,
    total: &mut [[__m256; 2]],
) {
    let ones = _mm256_set1_epi16(1);
    let Some(total) = total.first_chunk_mut::<M>() else { return };
    // A copy whose address nobody has, so that it lives in registers.
    let mut acc = *total;
    // SAFETY: the caller's source holds the groups, and each row a record for each.
    unsafe {
        let mut records = record_pointers::<M>(call, start, call.k / GROUP * GROUP16_RECORD);
        for record in &mut records {
            *record = record.add(groups.start * GROUP16_RECORD);
        }
        for g in 0..groups.len() {
            if M < 4 {
                source.request(g);
            }
            let scale = source.scales(g);
            for sub in 0..2 {
                let mut lanes = [[_mm256_setzero_si256(); 2]; M];
                for m in 0..M {
                    lanes[m] = [broadcast(records[m].add(36 + 4 * sub)); 2];
                }
                for v in 4 * sub..4 * sub + 4 {
                    let w = [source.codes(g, 0, v), source.codes(g, 1, v)];
                    for m in 0..M {
                        let x = broadcast(records[m].add(4 * v));
                        for half in 0..2 {
                            let products = _mm256_maddubs_epi16(w[half], x);
                            lanes[m][half] = pinned(_mm256_add_epi16(lanes[m][half], products));
                        }
                    }
                }
                for m in 0..M {
                    let d = _mm256_set1_ps(float(records[m].add(32)));
                    for half in 0..2 {
                        let sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(lanes[m][half], ones));
                        let scale = _mm256_mul_ps(scale[sub][half], d);
                        acc[m][half] = _mm256_fmadd_ps(sum, scale, acc[m][half]);
                    }
                }
            }
            for record in &mut records {
                *record = record.add(GROUP16_RECORD);
            }
        }
    }
    *total = acc;
}

/// The same with f32 activations.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply_exact(call: &StripCall<'_>, out: &mut [f32]) {
    checked_groups(call, 0, out);
    exact::multiply_with(
        call,
        // SAFETY: the strip's size is checked, so it holds this group.
        |strip, group, out| unsafe { widen(strip, group, out) },
        out,
    );
}

/// Widens 32 k of a strip to `[GROUP][ROWS]`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen(strip: *const u8, group: usize, out: &mut [[f32; ROWS]]) {
    // SAFETY: the caller's strip holds the group, and a row of `out` has room for two vectors.
    unsafe {
        let row = row_scales(strip);
        let group = strip.add(HEADER + group * GROUP_BYTES);
        prefetch_bytes(group, GROUP_BYTES);
        let (scale, values) = (scales(group), table(DOUBLED.as_ptr().cast()));
        for half in 0..2 {
            for (v, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let scale = _mm256_mul_ps(scale[v / 4][half], row[half]);
                let cells = nibbles(group.add(2 * ROWS), half, v);
                let cells = _mm256_shuffle_epi8(values, cells);
                let codes = [
                    _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(cells)),
                    _mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(cells)),
                    _mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(cells)),
                    _mm256_srai_epi32::<24>(cells),
                ];
                for (out, codes) in out.iter_mut().zip(codes) {
                    let value = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), scale);
                    _mm256_storeu_ps(out.as_mut_ptr().add(half * LANES), value);
                }
            }
        }
    }
}
