//! Activation of gated feed-forward layers.

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]
#![allow(unsafe_code, reason = "threads write disjoint rows of one tensor")]

use candle_core::Tensor;

use super::{
    norm::row_grain,
    operand::{check_rows, width_of},
};
use crate::{
    Context, KernelError,
    disjoint::Disjoint,
    lanes::{Kernel, LANES, Simd, dispatch},
    read, write,
};

/// `out = silu(gate) * up` for the first `rows` rows; `gate_up` is f32 `[max_rows, 2 * width]`,
/// gate before up in each row, `out` f32 `[max_rows, width]`.
///
/// # Errors
/// When a shape or type does not fit.
pub fn silu_mul(
    ctx: &Context,
    gate_up: &Tensor,
    rows: usize,
    out: &Tensor,
) -> Result<(), KernelError> {
    let width = width_of("silu_mul", "out", out, rows)?;
    check_rows("silu_mul", "gate_up", gate_up, rows, 2 * width)?;
    if width == 0 {
        return Ok(());
    }
    read::<f32, _>(gate_up, |gate_up| {
        write::<f32, _>(out, |out| {
            let out = Disjoint::new(out);
            ctx.pool().for_ranges(rows, row_grain(2 * width), |range| {
                let gate_up = &gate_up[range.start * 2 * width..range.end * 2 * width];
                // SAFETY: ranges of rows are disjoint.
                let out = unsafe { out.part(range.start * width..range.end * width) };
                dispatch(ctx.isa(), SiluRows { gate_up, width, out });
            })
        })
    })??
}

struct SiluRows<'a> {
    gate_up: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Kernel for SiluRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.gate_up.chunks_exact(2 * self.width);
        for (row, out) in rows.zip(self.out.chunks_exact_mut(self.width)) {
            let (gate, up) = row.split_at(self.width);
            silu_mul_row(s, gate, up, out);
        }
    }
}

/// `out = silu(gate) * up`, all of one length.
#[inline(always)]
pub(crate) fn silu_mul_row<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gates, gate_rest) = gate.as_chunks::<LANES>();
    let (ups, up_rest) = up.as_chunks::<LANES>();
    let (outs, out_rest) = out.as_chunks_mut::<LANES>();
    for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
        silu_mul_vector(s, gate, up, out);
    }
    let rest = gate_rest.len();
    if rest > 0 {
        let (mut gate, mut up, mut out) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        gate[..rest].copy_from_slice(gate_rest);
        up[..rest].copy_from_slice(up_rest);
        silu_mul_vector(s, &gate, &up, &mut out);
        out_rest.copy_from_slice(&out[..rest]);
    }
}

#[inline(always)]
fn silu_mul_vector<S: Simd>(s: S, gate: &[f32; LANES], up: &[f32; LANES], out: &mut [f32; LANES]) {
    let gate = s.load(gate);
    let denominator = s.add(s.splat(1.0), s.exp(s.sub(s.splat(0.0), gate)));
    s.store(s.mul(s.div(gate, denominator), s.load(up)), out);
}
