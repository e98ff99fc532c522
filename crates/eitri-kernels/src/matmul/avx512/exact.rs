//! Quantised weights times f32 activations. A few rows are multiplied while the strip is widened.
//! With more, a piece of it is widened into the first-level cache and multiplied with all of them
//! before the next one. Both are the same operations in the same order.

use std::arch::x86_64::{
    __m512, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_srl_epi32, _mm512_storeu_ps,
};

use super::{
    LANES, ROWS, checked,
    codes::count,
    dense::{F32, accumulate},
    integer::{FOURS, Format, Parameters, VECTORS},
    prefetch, store, sums,
};
use crate::{
    matmul::{Kernel, StripCall},
    weight::GROUP,
};

/// Rows that are multiplied with weights in registers.
const DIRECT_ROWS: usize = 4;
/// Groups of a piece: 16 KiB of f32.
const PIECE: usize = 4;

/// The widened values of a piece, `[k][row of the strip]`.
#[repr(align(64))]
struct Piece([[f32; ROWS]; PIECE * GROUP]);

/// A strip whose values can be had as f32.
pub(super) trait Values: Copy {
    /// What the values of a group have in common.
    type Group: Copy;

    /// Reads it.
    ///
    /// # Safety
    /// As for the folder: the strip holds the group.
    unsafe fn group(self, group: usize) -> Self::Group;

    /// The values of all rows for the four k of vector `v` of a group.
    ///
    /// # Safety
    /// As for [`Self::group`], whose result is `common`.
    unsafe fn four(self, common: &Self::Group, group: usize, v: usize) -> [[__m512; 2]; 4];

    /// About where the group begins, and how many bytes it has.
    fn place(self, group: usize) -> (*const u8, usize);
}

/// The values of a format of integers.
#[derive(Clone, Copy)]
struct Dequantised<F>(F);

impl<F: Format> Values for Dequantised<F> {
    type Group = Parameters;

    /// With the centre in the middle: `code * scale + (middle - CENTRE * scale)` takes one operation.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn group(self, group: usize) -> Parameters {
        let minus_centre = _mm512_set1_ps(-F::CENTRE as f32);
        // SAFETY: the caller's.
        let mut parameters = unsafe { self.0.parameters(group) };
        for s in 0..F::SCALES {
            for half in 0..2 {
                let (scale, middle) = (parameters.scale[s][half], parameters.middle[s][half]);
                if F::CENTRE != 0 {
                    parameters.middle[s][half] = _mm512_fmadd_ps(minus_centre, scale, middle);
                }
            }
        }
        parameters
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vnni")]
    unsafe fn four(self, common: &Parameters, group: usize, v: usize) -> [[__m512; 2]; 4] {
        let mask = _mm512_set1_epi32(255);
        let s = if F::SCALES == 1 { 0 } else { v / (VECTORS / 2) };
        let mut values = [[_mm512_setzero_ps(); 2]; 4];
        for half in 0..2 {
            // SAFETY: the caller's.
            let cells = unsafe { self.0.codes(group, half, v) };
            for place in 0..4 {
                let k = if F::SWAPPED { [0, 2, 1, 3][place] } else { place };
                let code = _mm512_and_si512(_mm512_srl_epi32(cells, count(8 * place)), mask);
                let (scale, middle) = (common.scale[s][half], common.middle[s][half]);
                values[k][half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale, middle);
            }
        }
        values
    }

    #[inline]
    fn place(self, group: usize) -> (*const u8, usize) {
        self.0.place(group)
    }
}

/// The kernel of a format of integers.
pub(super) fn kernel<F: Format>(name: &'static str) -> Kernel {
    Kernel { name, prepare: None, run: dequantised::<F> as _ }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
fn dequantised<F: Format>(call: &StripCall<'_>, out: &mut [f32]) {
    let (strip, bytes) = F::of(call);
    checked(call, bytes, 0, out);
    // SAFETY: sizes are checked.
    unsafe { multiply(Dequantised(strip), call, out) };
}

/// Multiplies with the values of a strip, whose size is checked.
#[target_feature(enable = "avx512bw,avx512vnni")]
pub(super) unsafe fn multiply<V: Values>(strip: V, call: &StripCall<'_>, out: &mut [f32]) {
    let out = out.as_mut_ptr();
    // SAFETY: the caller's.
    unsafe {
        match call.rows.len() {
            0 => {}
            1 => direct::<V, 1>(strip, call, out),
            2 => direct::<V, 2>(strip, call, out),
            3 => direct::<V, 3>(strip, call, out),
            DIRECT_ROWS => direct::<V, DIRECT_ROWS>(strip, call, out),
            _ => by_piece(strip, call, out),
        }
    }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn direct<V: Values, const M: usize>(strip: V, call: &StripCall<'_>, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = sums::<M>(out, 0);
        let mut x = [call.values.as_ptr(); M];
        for m in 0..M {
            x[m] = x[m].add(call.rows[m] as usize * call.k);
        }
        for group in 0..call.k / GROUP {
            let (start, bytes) = strip.place(group);
            prefetch(start, bytes);
            let common = strip.group(group);
            for four in 0..FOURS {
                for i in 0..4 {
                    let v = 4 * four + i;
                    let values = strip.four(&common, group, v);
                    for k in 0..4 {
                        for m in 0..M {
                            let x = _mm512_set1_ps(*x[m].add(GROUP * group + 4 * v + k));
                            acc[m][0] = _mm512_fmadd_ps(values[k][0], x, acc[m][0]);
                            acc[m][1] = _mm512_fmadd_ps(values[k][1], x, acc[m][1]);
                        }
                    }
                }
            }
        }
        store(&acc, out, 0);
    }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn by_piece<V: Values>(strip: V, call: &StripCall<'_>, out: *mut f32) {
    let mut piece = Piece([[0.0; ROWS]; PIECE * GROUP]);
    let groups = call.k / GROUP;
    for first in (0..groups).step_by(PIECE) {
        let end = groups.min(first + PIECE);
        // SAFETY: the caller's, and the piece has room for the groups.
        unsafe {
            for (group, out) in (first..end).zip(piece.0.as_chunks_mut::<GROUP>().0) {
                widen(strip, group, out);
            }
            let k = first * GROUP..end * GROUP;
            accumulate::<F32, false>(call, k, piece.0.as_ptr().cast(), out);
        }
    }
}

#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn widen<V: Values>(strip: V, group: usize, out: &mut [[f32; ROWS]; GROUP]) {
    // SAFETY: the caller's strip holds the group; a row of `out` has room for two vectors.
    unsafe {
        let (start, bytes) = strip.place(group);
        prefetch(start, bytes);
        let common = strip.group(group);
        for four in 0..FOURS {
            for i in 0..4 {
                let v = 4 * four + i;
                let values = strip.four(&common, group, v);
                for k in 0..4 {
                    let out = out[4 * v + k].as_mut_ptr();
                    _mm512_storeu_ps(out, values[k][0]);
                    _mm512_storeu_ps(out.add(LANES), values[k][1]);
                }
            }
        }
    }
}
