//! AArch64 with NEON and the dot-product extension: sixteen rows a strip, four vectors of four.
//!
//! Safety of this folder: every function needs both features, which [`kernel`]'s caller has
//! detected, and a [`StripCall`] whose strip, values and records are as long as its sizes say,
//! which [`checked`] asserts before any pointer is formed.
//!
//! `I8`, `U4` and `U4Min` have integer kernels; the other quantised formats, and the exact mode of
//! all of them, have no kernel of their own: they run the portable one, and its name says so.

#![allow(unsafe_code, reason = "vector intrinsics and loads at computed addresses")]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over constant ranges are what the compiler unrolls into registers"
)]

mod dense;
mod integer;
mod prepare;

use std::arch::{
    aarch64::{float32x4_t, vst1q_f32},
    asm,
};

use super::{Kernel, Prepare, StripCall, portable};
use crate::{
    Activations::{self, Int8},
    WeightFormat::{self, Bf16, F16, F32, I8, U4, U4Min},
};

/// Rows of a strip.
const ROWS: usize = 16;
/// Vectors that hold one f32 of each row of a strip.
const VECTORS: usize = 4;
/// Rows of activations per tile: sixteen registers of sums.
const TILE: usize = 4;

/// The kernel for a format.
pub(super) fn kernel(format: WeightFormat, activations: Activations) -> Kernel {
    let plain = |name, run| Kernel { name, prepare: None, run };
    let integer = |name, row, run| {
        let prepare = Some(Prepare { record: prepare::RECORD, row });
        Kernel { name, prepare, run }
    };
    match (format, activations) {
        (F32, _) => plain("neon f32 fma", dense::f32 as _),
        (F16, _) => plain("neon f16 widened, f32 fma", dense::f16 as _),
        (Bf16, _) => plain("neon bf16 widened, f32 fma", dense::bf16 as _),
        (I8, Int8) => integer("neon i8 x i8 sdot", prepare::i8 as _, integer::i8 as _),
        (U4, Int8) => integer("neon u4 x i8 sdot", prepare::u4 as _, integer::u4 as _),
        (U4Min, Int8) => {
            integer("neon u4+min x i8 sdot", prepare::u4_min as _, integer::u4_min as _)
        }
        _ => portable::kernel(format, activations),
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

/// Four f16 values as f32.
#[target_feature(enable = "neon,dotprod")]
unsafe fn load_f16(p: *const u8) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the caller's address is inside a strip with 8 bytes left; `fcvtl` is in every NEON.
    unsafe {
        asm!(
            "ldr {v:d}, [{p}]",
            "fcvtl {v:v}.4s, {v:v}.4h",
            p = in(reg) p,
            v = out(vreg) wide,
            options(nostack, pure, readonly, preserves_flags),
        );
    }
    wide
}

/// Writes the results of a tile.
#[target_feature(enable = "neon,dotprod")]
fn store<const M: usize>(acc: &[[float32x4_t; VECTORS]; M], start: usize, out: &mut [f32]) {
    for (acc, out) in acc.iter().zip(out[start * ROWS..].chunks_exact_mut(ROWS)) {
        for (&acc, out) in acc.iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: the chunk has room for one vector.
            unsafe { vst1q_f32(out.as_mut_ptr(), acc) };
        }
    }
}
