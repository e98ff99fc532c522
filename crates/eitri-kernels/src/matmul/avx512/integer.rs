//! Weights as unsigned bytes times 8-bit activations, four products a lane and instruction.
//!
//! A 32-bit lane starts at minus the centre times the sum of its activations, so that codes with an
//! implied zero need no correction after the sum.
//!
//! Some tiles of rows are multiplied while the strip is unpacked. With more, eight groups are unpacked into
//! the first-level cache for all of them. Both are the same operations in the same order.

use std::{
    arch::x86_64::{
        __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    },
    marker::PhantomData,
    ops::Range,
};

use super::{broadcast, checked, float, prefetch, prepare, store, sums};
use crate::{
    matmul::{Kernel, Prepare, StripCall, tiles},
    weight::GROUP,
};

/// Rows of activations per tile: twelve registers of integer sums and twelve of f32 sums.
const TILE: usize = 6;

/// Rows of activations per tile for a format. With two scales, scaled sums take registers too.
const fn tile_rows<F: Format>() -> usize {
    if F::SCALES == 1 { TILE } else { 5 }
}
/// With more tiles than these it pays to unpack a strip once for all.
const DIRECT_TILES: usize = 4;
/// Groups that are unpacked together.
const PIECE: usize = 8;
/// Vectors of codes of a group for each half of a strip.
pub(super) const VECTORS: usize = GROUP / 4;
/// Fours of vectors: loops over four have bodies in which the places of codes of 2 and 4 bits are
/// constants.
pub(super) const FOURS: usize = VECTORS / 4;

/// A format whose values are `(code - CENTRE) * scale + middle`; a value of it is a strip.
pub(super) trait Format: Copy {
    /// Taken from each code before it is multiplied.
    const CENTRE: i32;
    /// Whether `middle` is not zero.
    const MIDDLE: bool;
    /// Scales of a group of 32: one, or one for each half of it.
    const SCALES: usize = 1;
    /// Whether the four codes of a cell are k 0, 2, 1, 3.
    const SWAPPED: bool = false;

    /// The strip of a call, and how many bytes it must have.
    fn of(call: &StripCall<'_>) -> (Self, usize);

    /// Vector `v` of the codes of one half of the rows.
    ///
    /// # Safety
    /// As for the folder: the strip holds the group.
    unsafe fn codes(self, group: usize, half: usize, v: usize) -> __m512i;

    /// Scales and middles of a group.
    ///
    /// # Safety
    /// As for [`Self::codes`].
    unsafe fn parameters(self, group: usize) -> Parameters;

    /// About where the group begins, and how many bytes it has.
    fn place(self, group: usize) -> (*const u8, usize);
}

/// Scales and middles of a group of 32 k: those of each half of the rows, for each scale.
#[derive(Clone, Copy)]
pub(super) struct Parameters {
    pub(super) scale: [[__m512; 2]; 2],
    pub(super) middle: [[__m512; 2]; 2],
}

impl Parameters {
    /// One scale, no middle.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    pub(super) fn scale(scale: [__m512; 2]) -> Self {
        let zero = [_mm512_setzero_ps(); 2];
        Self { scale: [scale, zero], middle: [zero; 2] }
    }

    /// One scale and one middle.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    pub(super) fn with_middle(scale: [__m512; 2], middle: [__m512; 2]) -> Self {
        let zero = [_mm512_setzero_ps(); 2];
        Self { scale: [scale, zero], middle: [middle, zero] }
    }

    /// Two scales, no middle.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    pub(super) fn scales(scale: [[__m512; 2]; 2]) -> Self {
        Self { scale, middle: [[_mm512_setzero_ps(); 2]; 2] }
    }
}

/// The record of 32 activations for a format: their codes, their scale, then for each scale of the
/// weights minus the centre times the sum of its codes (i32) and that sum times the scale (f32).
pub(super) struct Record<F>(PhantomData<F>);

impl<F: Format> Record<F> {
    /// Where minus the centre times the sums is.
    pub(super) const START: usize = GROUP + 4;
    /// Where the sums times the scale are.
    pub(super) const OFFSET: usize = Self::START + if F::CENTRE == 0 { 0 } else { 4 * F::SCALES };
    /// Length.
    pub(super) const BYTES: usize = Self::OFFSET + if F::MIDDLE { 4 * F::SCALES } else { 0 };
}

/// The kernel of a format.
pub(super) fn kernel<F: Format>(name: &'static str) -> Kernel {
    let prepare = Prepare { record: Record::<F>::BYTES, row: prepare::records::<F> as _ };
    Kernel { name, prepare: Some(prepare), run: multiply::<F> as _ }
}

/// Where a tile's weights come from.
trait Source {
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m512i;
    unsafe fn parameters(&self, group: usize) -> Parameters;
    fn request(&self, group: usize);
}

/// A strip as it is.
struct Packed<F>(F);

impl<F: Format> Source for Packed<F> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m512i {
        // SAFETY: the caller's.
        unsafe { self.0.codes(group, half, v) }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(&self, group: usize) -> Parameters {
        // SAFETY: the caller's.
        unsafe { self.0.parameters(group) }
    }

    #[inline]
    fn request(&self, group: usize) {
        let (start, bytes) = self.0.place(group);
        // SAFETY: a format is made only where the features are.
        unsafe { prefetch(start, bytes) };
    }
}

/// Unpacked groups.
struct Piece {
    codes: [[[__m512i; 2]; VECTORS]; PIECE],
    parameters: [Parameters; PIECE],
}

impl Source for Piece {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn codes(&self, group: usize, half: usize, v: usize) -> __m512i {
        self.codes[group][v][half]
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn parameters(&self, group: usize) -> Parameters {
        self.parameters[group]
    }

    #[inline]
    fn request(&self, _: usize) {}
}

impl Piece {
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn unpack<F: Format>(&mut self, strip: &Packed<F>, first: usize, count: usize) {
        // SAFETY: the caller's strip holds the groups.
        unsafe {
            for g in 0..count {
                strip.request(first + g);
                for four in 0..FOURS {
                    for i in 0..4 {
                        let v = 4 * four + i;
                        for half in 0..2 {
                            self.codes[g][v][half] = strip.codes(first + g, half, v);
                        }
                    }
                }
                let parameters = strip.parameters(first + g);
                for s in 0..F::SCALES {
                    self.parameters[g].scale[s] = parameters.scale[s];
                    if F::MIDDLE {
                        self.parameters[g].middle[s] = parameters.middle[s];
                    }
                }
            }
        }
    }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
fn multiply<F: Format>(call: &StripCall<'_>, out: &mut [f32]) {
    let (strip, bytes) = F::of(call);
    let (strip, groups) = (Packed(strip), call.k / GROUP);
    checked(call, bytes, groups * Record::<F>::BYTES, out);
    let (rows, out) = (call.rows.len(), out.as_mut_ptr());
    if rows <= DIRECT_TILES * tile_rows::<F>() {
        tiles(rows, tile_rows::<F>(), |start, size| {
            // SAFETY: sizes are checked; `start + size` is at most the number of rows.
            unsafe { rows_of::<F, _>(&strip, 0..groups, call, (start, size), out) };
        });
        return;
    }
    let nothing = Parameters::scale([_mm512_setzero_ps(); 2]);
    let mut piece = Piece {
        codes: [[[_mm512_setzero_si512(); 2]; VECTORS]; PIECE],
        parameters: [nothing; PIECE],
    };
    for first in (0..groups).step_by(PIECE) {
        let end = groups.min(first + PIECE);
        // SAFETY: the checked strip holds these groups.
        unsafe { piece.unpack(&strip, first, end - first) };
        tiles(rows, tile_rows::<F>(), |start, size| {
            // SAFETY: sizes are checked; `start + size` is at most the number of rows.
            unsafe { rows_of::<F, _>(&piece, first..end, call, (start, size), out) };
        });
    }
}

/// Adds the products of some groups, which are the first ones of `source`, to the sums of `size`
/// rows from `start` on.
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn rows_of<F: Format, S: Source>(
    source: &S,
    groups: Range<usize>,
    call: &StripCall<'_>,
    (start, size): (usize, usize),
    out: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        match size {
            0 => {}
            1 => tile::<F, S, 1>(source, groups, call, start, out),
            2 => tile::<F, S, 2>(source, groups, call, start, out),
            3 => tile::<F, S, 3>(source, groups, call, start, out),
            4 => tile::<F, S, 4>(source, groups, call, start, out),
            5 => tile::<F, S, 5>(source, groups, call, start, out),
            _ => tile::<F, S, TILE>(source, groups, call, start, out),
        }
    }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn tile<F: Format, S: Source, const M: usize>(
    source: &S,
    groups: Range<usize>,
    call: &StripCall<'_>,
    start: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's source holds the groups, and each row a record for each.
    unsafe {
        let mut acc = sums::<M>(out, start);
        let mut records = [call.records.as_ptr(); M];
        for m in 0..M {
            let first = call.rows[start + m] as usize * (call.k / GROUP) + groups.start;
            records[m] = records[m].add(first * Record::<F>::BYTES);
        }
        for g in 0..groups.len() {
            source.request(g);
            let parameters = source.parameters(g);
            let mut scaled = [[_mm512_setzero_ps(); 2]; M];
            for s in 0..F::SCALES {
                let sums = products::<F, S, M>(source, g, s, &records);
                for m in 0..M {
                    for half in 0..2 {
                        let sum = _mm512_cvtepi32_ps(sums[m][half]);
                        let scale = parameters.scale[s][half];
                        scaled[m][half] = if s == 0 {
                            _mm512_mul_ps(sum, scale)
                        } else {
                            _mm512_fmadd_ps(sum, scale, scaled[m][half])
                        };
                    }
                    if F::MIDDLE {
                        let offset = float(records[m].add(Record::<F>::OFFSET + 4 * s));
                        let offset = _mm512_set1_ps(offset);
                        for half in 0..2 {
                            let middle = parameters.middle[s][half];
                            acc[m][half] = _mm512_fmadd_ps(middle, offset, acc[m][half]);
                        }
                    }
                }
            }
            for m in 0..M {
                let d = _mm512_set1_ps(float(records[m].add(GROUP)));
                for half in 0..2 {
                    acc[m][half] = _mm512_fmadd_ps(scaled[m][half], d, acc[m][half]);
                }
            }
            for record in &mut records {
                *record = record.add(Record::<F>::BYTES);
            }
        }
        store(&acc, out, start);
    }
}

/// The sums of `(code - CENTRE) * activation` over the k of scale `s` of a group.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn products<F: Format, S: Source, const M: usize>(
    source: &S,
    g: usize,
    s: usize,
    records: &[*const u8; M],
) -> [[__m512i; 2]; M] {
    let mut sums = [[_mm512_setzero_si512(); 2]; M];
    // SAFETY: the caller's.
    unsafe {
        if F::CENTRE != 0 {
            for m in 0..M {
                sums[m] = [broadcast(records[m].add(Record::<F>::START + 4 * s)); 2];
            }
        }
        for four in FOURS / F::SCALES * s..FOURS / F::SCALES * (s + 1) {
            for i in 0..4 {
                let v = 4 * four + i;
                let w = [source.codes(g, 0, v), source.codes(g, 1, v)];
                for m in 0..M {
                    let x = broadcast(records[m].add(4 * v));
                    for half in 0..2 {
                        sums[m][half] = pinned(_mm512_dpbusd_epi32(sums[m][half], w[half], x));
                    }
                }
            }
        }
    }
    sums
}

/// The same value, computed here and not later: the compiler must not turn the loops of a tile inside
/// out, which would keep all unpacked codes in memory.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn pinned(mut v: __m512i) -> __m512i {
    // SAFETY: no instruction, no memory access.
    unsafe {
        std::arch::asm!("/* {0} */", inout(zmm_reg) v, options(nomem, nostack, preserves_flags));
    }
    v
}
