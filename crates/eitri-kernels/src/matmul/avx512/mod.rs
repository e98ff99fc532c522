//! x86-64 with AVX-512: thirty-two rows a strip, two vectors of sixteen.
//!
//! [`Format`](integer::Format) says how a group of 32 k lies in a strip; [`integer`] multiplies any
//! such format with 8-bit activations, [`exact`] with f32 ones.
//!
//! Safety of this folder: every function needs the features of [`Isa::Avx512`](crate::Isa), which
//! [`kernel`]'s caller has detected, and a [`StripCall`] whose strip, values and records are as long
//! as its sizes say, which [`checked`] asserts before any pointer is formed.

#![allow(unsafe_code, reason = "vector intrinsics and unaligned loads at computed addresses")]
#![allow(
    clippy::needless_range_loop,
    clippy::manual_memcpy,
    reason = "loops over constant ranges are what the compiler unrolls into registers"
)]

mod bf16;
mod codes;
mod dense;
mod e4m3;
mod e4m3_bf16;
mod exact;
mod floats;
mod grouped;
mod integer;
mod k_quants;
mod plain;
mod prepare;

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_cvtph_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_storeu_ps,
};

use self::codes::{Bits, Bytes, Steps};
use super::{Kernel, StripCall};
use crate::{
    Activations, Codes,
    WeightFormat::{
        self, Bf16, F16, F32, Grouped, I8, Iq4Nl, Iq4Xs, Mxfp4, Nvfp4, Q2K, Q3K, Q4K, Q5K, Q6K, U4,
        U4Min, U5, U5Min,
    },
};

/// f32 lanes of a vector.
const LANES: usize = 16;
/// Rows of a strip.
const ROWS: usize = 2 * LANES;
/// How far ahead of its use a byte of weights is requested: far enough to hide the latency of
/// memory at one thread's full rate, near enough to stay in the first-level cache.
const AHEAD: usize = 4608;

/// Both kernels of a format.
macro_rules! pair {
    ($activations:ident, $format:ty, $name:literal) => {
        match $activations {
            Activations::Int8 => integer::kernel::<$format>(concat!("avx512 ", $name, " x i8")),
            Activations::Exact => {
                exact::kernel::<$format>(concat!("avx512 ", $name, " dequantised, f32 fma"))
            }
        }
    };
}

/// The kernel for a format.
pub(super) fn kernel(format: WeightFormat, activations: Activations) -> Kernel {
    let unprepared = |name, run| Kernel { name, prepare: None, run };
    match format {
        F32 => unprepared("avx512 f32 fma", dense::f32 as _),
        F16 => unprepared("avx512 f16 widened, f32 fma", dense::f16 as _),
        Bf16 if activations == Activations::Int8 && bf16::is_available() => {
            bf16::kernel("avx512 bf16 x bf16")
        }
        Bf16 => unprepared("avx512 bf16 widened, f32 fma", dense::bf16 as _),
        I8 => pair!(activations, plain::Plain<Bytes, false>, "i8"),
        U4 => pair!(activations, plain::Plain<Bits<4, 0>, false>, "u4"),
        U4Min => pair!(activations, plain::Plain<Bits<4, 0>, true>, "u4+min"),
        U5 => pair!(activations, plain::Plain<Bits<4, 1>, false>, "u5"),
        U5Min => pair!(activations, plain::Plain<Bits<4, 1>, true>, "u5+min"),
        Q2K => pair!(activations, k_quants::Q2K, "q2_k"),
        Q3K => pair!(activations, k_quants::Q3K, "q3_k"),
        Q4K => pair!(activations, k_quants::Q45K<Bits<4, 0>, 144>, "q4_k"),
        Q5K => pair!(activations, k_quants::Q45K<Bits<4, 1>, 176>, "q5_k"),
        Q6K => pair!(activations, k_quants::Q6K, "q6_k"),
        Iq4Nl => pair!(activations, plain::Plain<Steps, false>, "iq4_nl"),
        Iq4Xs => pair!(activations, k_quants::Iq4Xs, "iq4_xs"),
        Mxfp4 => pair!(activations, floats::Mxfp4, "mxfp4"),
        Nvfp4 => pair!(activations, floats::Nvfp4, "nvfp4"),
        Grouped(grouped) => match grouped.codes {
            Codes::U4 => pair!(activations, grouped::Integers<Bits<4, 0>, false>, "grouped u4"),
            Codes::U4Zero => {
                pair!(activations, grouped::Integers<Bits<4, 0>, true>, "grouped u4+zero")
            }
            Codes::I8 => pair!(activations, grouped::Integers<Bytes, false>, "grouped i8"),
            Codes::I8Zero => pair!(activations, grouped::Integers<Bytes, true>, "grouped i8+zero"),
            Codes::E4m3 if activations == Activations::Int8 && bf16::is_available() => {
                e4m3_bf16::kernel("avx512 e4m3 x bf16")
            }
            Codes::E4m3 => unprepared("avx512 e4m3 widened, f32 fma", e4m3::multiply as _),
        },
    }
}

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

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn load(p: *const u8) -> __m512i {
    // SAFETY: the caller's address has 64 bytes left.
    unsafe { _mm512_loadu_si512(p.cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn load_half(p: *const u8) -> __m256i {
    // SAFETY: the caller's address has 32 bytes left.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

/// Sixteen f16 values as f32.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn load_f16(p: *const u8) -> __m512 {
    // SAFETY: the caller's.
    _mm512_cvtph_ps(unsafe { load_half(p) })
}

/// An f16 value of each row as f32.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn row_f16(p: *const u8) -> [__m512; 2] {
    // SAFETY: the caller's address has 64 bytes left.
    unsafe { [load_f16(p), load_f16(p.add(2 * LANES))] }
}

/// Four bytes in every lane.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn broadcast(p: *const u8) -> __m512i {
    // SAFETY: the caller's address has 4 bytes left.
    _mm512_set1_epi32(unsafe { p.cast::<i32>().read_unaligned() })
}

/// A float.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn float(p: *const u8) -> f32 {
    // SAFETY: the caller's address has 4 bytes left.
    unsafe { p.cast::<f32>().read_unaligned() }
}

/// Requests the weights that will be read [`AHEAD`] bytes later.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn prefetch(p: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(AHEAD + line).cast());
    }
}

/// The sums of rows `start..start + M`.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn sums<const M: usize>(out: *const f32, start: usize) -> [[__m512; 2]; M] {
    let mut sums = [[_mm512_set1_ps(0.0); 2]; M];
    for m in 0..M {
        for half in 0..2 {
            // SAFETY: the caller's output has these rows.
            sums[m][half] = unsafe { _mm512_loadu_ps(out.add((start + m) * ROWS + half * LANES)) };
        }
    }
    sums
}

/// Writes them back.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
unsafe fn store<const M: usize>(sums: &[[__m512; 2]; M], out: *mut f32, start: usize) {
    for m in 0..M {
        for half in 0..2 {
            // SAFETY: the caller's output has these rows.
            unsafe {
                _mm512_storeu_ps(out.add((start + m) * ROWS + half * LANES), sums[m][half]);
            }
        }
    }
}
