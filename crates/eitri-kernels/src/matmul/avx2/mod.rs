//! x86-64 with AVX2, FMA and F16C: sixteen rows a strip, two vectors of eight.
//!
//! Safety of this folder: every function needs the three features, which [`kernel`]'s caller has
//! detected, and a [`StripCall`] whose strip, values and records are as long as its sizes say,
//! which [`checked`] asserts before any pointer is formed.

#![allow(unsafe_code, reason = "vector intrinsics and unaligned loads at computed addresses")]
#![allow(
    clippy::needless_range_loop,
    clippy::manual_memcpy,
    reason = "loops over constant ranges are what the compiler unrolls into registers"
)]

mod codes;
mod dense;
mod e4m3;
mod exact;
mod group16;
mod group32;
mod grouped;
mod int16;
mod int4;
mod iq4;
mod mxfp4;
mod nvfp4;
mod prepare;
mod q4k;
mod q6k;

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_cvtph_ps,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_ps,
};

use super::{Kernel, Prepare, StripCall};
use crate::{
    Activations::{self, Exact, Int8},
    Codes,
    WeightFormat::{
        self, Bf16, F16, F32, Grouped, I8, Iq4Nl, Iq4Xs, Mxfp4, Nvfp4, Q2K, Q3K, Q4K, Q5K, Q6K, U4,
        U4Min, U5, U5Min,
    },
};

/// f32 lanes of a vector.
const LANES: usize = 8;
/// Rows of a strip.
const ROWS: usize = 2 * LANES;
/// How far ahead of its use a byte of weights is requested: far enough to hide the latency of
/// memory at one thread's full rate, near enough to stay in the first-level cache.
const AHEAD: usize = 4608;

/// The kernel for a format.
pub(super) fn kernel(format: WeightFormat, activations: Activations) -> Kernel {
    match activations {
        Int8 => integer_kernel(format),
        Exact => exact_kernel(format),
    }
}

fn integer_kernel(format: WeightFormat) -> Kernel {
    let unsigned = |name, row, run| {
        let prepare = Prepare { record: prepare::I8_RECORD, row };
        Kernel { name, prepare: Some(prepare), run }
    };
    match format {
        F32 | F16 | Bf16 => exact_kernel(format),
        U4 => unsigned("avx2 u4 x i8", prepare::i8::<8> as _, int4::u4 as _),
        U4Min => unsigned("avx2 u4+min x i8", prepare::i8::<1> as _, int4::u4_min as _),
        Grouped(grouped) => match grouped.codes {
            Codes::U4 | Codes::U4Zero => {
                unsigned("avx2 grouped u4 x i8", prepare::i8::<1> as _, grouped::u4 as _)
            }
            Codes::I8 | Codes::I8Zero => {
                let (record, row) = (prepare::I16_SUM_RECORD, prepare::i16_sum as _);
                let prepare = Some(Prepare { record, row });
                Kernel { name: "avx2 grouped i8 x i16", prepare, run: grouped::i8 as _ }
            }
            Codes::E4m3 => exact_kernel(format),
        },
        I8 => int16::kernel::<int16::I8>("avx2 i8 x i16"),
        Iq4Nl => int16::kernel::<iq4::Iq4Nl>("avx2 iq4_nl x i16"),
        Iq4Xs => int16::kernel::<iq4::Iq4Xs>("avx2 iq4_xs x i16"),
        U5 => group32::kernel::<q4k::U5<false>>("avx2 u5 x i8"),
        U5Min => group32::kernel::<q4k::U5<true>>("avx2 u5+min x i8"),
        Q4K => group32::kernel::<q4k::QK<false>>("avx2 q4_k x i8"),
        Q5K => group32::kernel::<q4k::QK<true>>("avx2 q5_k x i8"),
        Mxfp4 => group32::kernel::<mxfp4::Mxfp4>("avx2 mxfp4 x i8"),
        Nvfp4 => {
            let (record, row) =
                (prepare::GROUP16_RECORD, prepare::halves::<{ nvfp4::MINUS_CENTRE }> as _);
            let prepare = Some(Prepare { record, row });
            Kernel { name: "avx2 nvfp4 x i8", prepare, run: nvfp4::multiply as _ }
        }
        Q2K => group16::kernel::<q6k::Q2K>("avx2 q2_k x i8"),
        Q3K => group16::kernel::<q6k::Q3K>("avx2 q3_k x i8"),
        Q6K => group16::kernel::<q6k::Q6K>("avx2 q6_k x i8"),
    }
}

fn exact_kernel(format: WeightFormat) -> Kernel {
    let plain = |name, run| Kernel { name, prepare: None, run };
    match format {
        F32 => plain("avx2 f32 fma", dense::f32 as _),
        F16 => plain("avx2 f16 widened, f32 fma", dense::f16 as _),
        Bf16 => plain("avx2 bf16 widened, f32 fma", dense::bf16 as _),
        U4 => plain("avx2 u4 dequantised, f32 fma", exact::u4 as _),
        U4Min => plain("avx2 u4+min dequantised, f32 fma", exact::u4_min as _),
        I8 => plain("avx2 i8 dequantised, f32 fma", exact::signed::<int16::I8> as _),
        Iq4Nl => plain("avx2 iq4_nl dequantised, f32 fma", exact::signed::<iq4::Iq4Nl> as _),
        Iq4Xs => plain("avx2 iq4_xs dequantised, f32 fma", exact::signed::<iq4::Iq4Xs> as _),
        U5 => plain("avx2 u5 dequantised, f32 fma", exact::group32::<q4k::U5<false>> as _),
        U5Min => plain("avx2 u5+min dequantised, f32 fma", exact::group32::<q4k::U5<true>> as _),
        Q4K => plain("avx2 q4_k dequantised, f32 fma", exact::group32::<q4k::QK<false>> as _),
        Q5K => plain("avx2 q5_k dequantised, f32 fma", exact::group32::<q4k::QK<true>> as _),
        Mxfp4 => plain("avx2 mxfp4 dequantised, f32 fma", exact::group32::<mxfp4::Mxfp4> as _),
        Q2K => plain("avx2 q2_k dequantised, f32 fma", exact::group16::<q6k::Q2K> as _),
        Q3K => plain("avx2 q3_k dequantised, f32 fma", exact::group16::<q6k::Q3K> as _),
        Q6K => plain("avx2 q6_k dequantised, f32 fma", exact::group16::<q6k::Q6K> as _),
        Grouped(format) => match format.codes {
            Codes::U4 | Codes::U4Zero => {
                plain("avx2 grouped u4 dequantised, f32 fma", exact::grouped as _)
            }
            Codes::I8 | Codes::I8Zero => {
                plain("avx2 grouped i8 dequantised, f32 fma", exact::grouped as _)
            }
            Codes::E4m3 => plain("avx2 e4m3 widened, f32 fma", e4m3::multiply as _),
        },
        Nvfp4 => plain("avx2 nvfp4 dequantised, f32 fma", nvfp4::multiply_exact as _),
    }
}

/// Calls `$tile::<M>` for the rows of a call in tiles of at most `$largest` (up to 5) rows.
macro_rules! by_tile {
    ($largest:expr, $call:ident, $tile:ident, $($args:tt)*) => {
        $crate::matmul::tiles($call.rows.len(), $largest, |start, size| {
            // SAFETY: see the module; `start + size` is at most the number of rows.
            unsafe {
                match size {
                    1 => $tile::<1>($call, start, $($args)*),
                    2 => $tile::<2>($call, start, $($args)*),
                    3 => $tile::<3>($call, start, $($args)*),
                    4 => $tile::<4>($call, start, $($args)*),
                    _ => $tile::<5>($call, start, $($args)*),
                }
            }
        })
    };
}
use by_tile;

/// Asserts that the slices of a call hold what the kernel will read and write.
fn checked(call: &StripCall<'_>, strip_bytes: usize, row_bytes: usize, out: &[f32]) {
    let last = call.rows.iter().max().map_or(0, |&r| r as usize + 1);
    let activations = if row_bytes > 0 {
        call.records.len() >= last * row_bytes
    } else {
        call.values.len() >= last * call.k
    };
    assert!(
        call.strip.len() == strip_bytes && activations && out.len() == call.rows.len() * ROWS,
        "a kernel call's sizes do not agree"
    );
}

/// Pointer to the first record of each row of a tile.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn record_pointers<const M: usize>(
    call: &StripCall<'_>,
    start: usize,
    row_bytes: usize,
) -> [*const u8; M] {
    let base = call.records.as_ptr();
    // SAFETY: `checked` has asserted that each row's records exist.
    std::array::from_fn(|m| unsafe { base.add(call.rows[start + m] as usize * row_bytes) })
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load(p: *const u8) -> __m256i {
    // SAFETY: the caller's address is inside a strip with 32 bytes left.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

/// Eight f16 values as f32.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_f16(p: *const u8) -> __m256 {
    // SAFETY: the caller's address is inside a strip with 16 bytes left.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
}

/// Four bytes of a record in every lane.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn broadcast(p: *const u8) -> __m256i {
    // SAFETY: the caller's address is inside a record with 4 bytes left.
    _mm256_set1_epi32(unsafe { p.cast::<i32>().read_unaligned() })
}

/// A float of a record.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float(p: *const u8) -> f32 {
    // SAFETY: the caller's address is inside a record with 4 bytes left.
    unsafe { p.cast::<f32>().read_unaligned() }
}

/// Requests the weights that will be read [`AHEAD`] bytes later, `BYTES` of them.
#[target_feature(enable = "avx2,fma,f16c")]
fn prefetch<const BYTES: usize>(p: *const u8) {
    prefetch_bytes(p, BYTES);
}

/// Requests the weights that will be read [`AHEAD`] bytes later.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn prefetch_bytes(p: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(AHEAD + line).cast());
    }
}

/// The same value, computed here and not later.
///
/// Left to itself the compiler turns the loops of a tile inside out, row of activations by row,
/// and keeps all unpacked codes in memory: half again as many loads as the multipliers wait for.
#[target_feature(enable = "avx2,fma,f16c")]
fn pinned(mut v: __m256i) -> __m256i {
    // SAFETY: no instruction, no memory access.
    unsafe {
        std::arch::asm!("/* {0} */", inout(ymm_reg) v, options(nomem, nostack, preserves_flags));
    }
    v
}

/// Writes the results of a tile.
#[target_feature(enable = "avx2,fma,f16c")]
fn store<const M: usize>(acc: &[[__m256; 2]; M], start: usize, out: &mut [f32]) {
    for (acc, out) in acc.iter().zip(out[start * ROWS..].chunks_exact_mut(ROWS)) {
        // SAFETY: a chunk has room for two vectors.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), acc[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(LANES), acc[1]);
        }
    }
}
