//! Root-mean-square normalisation (<https://arxiv.org/abs/1910.07467>), alone or fused with the
//! residual addition before it, and the residual addition alone.

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]
#![allow(unsafe_code, reason = "threads write disjoint rows of one tensor")]

use candle_core::Tensor;

use super::operand::{check_rows, check_vector, width_of};
use crate::{
    Context, KernelError,
    disjoint::Disjoint,
    lanes::{Kernel, LANES, Simd, dispatch},
    read, write,
};

/// Values for which starting the other threads costs less than computing alone.
const GRAIN: usize = 16 * 1024;

/// Rows that a thread takes at a time.
pub(super) fn row_grain(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// `out = x / sqrt(mean(x^2) + eps) * weight` for the first `rows` rows; `x` and `out` are f32
/// `[max_rows, width]` and different tensors, `weight` is f32 `[width]`.
///
/// # Errors
/// When a shape or type does not fit.
pub fn rms_norm(
    ctx: &Context,
    x: &Tensor,
    weight: &Tensor,
    eps: f32,
    rows: usize,
    out: &Tensor,
) -> Result<(), KernelError> {
    let width = width_of("rms_norm", "x", x, rows)?;
    check_vector("rms_norm", "weight", weight, width)?;
    check_rows("rms_norm", "out", out, rows, width)?;
    if width == 0 {
        return Ok(());
    }
    read::<f32, _>(x, |x| {
        read::<f32, _>(weight, |weight| {
            write::<f32, _>(out, |out| {
                let out = Disjoint::new(out);
                ctx.pool().for_ranges(rows, row_grain(width), |range| {
                    let part = range.start * width..range.end * width;
                    // SAFETY: ranges of rows are disjoint.
                    let out = unsafe { out.part(part.clone()) };
                    dispatch(ctx.isa(), NormRows { x: &x[part], weight, eps, out });
                })
            })
        })
    })???
}

/// `residual += x`, then `out = rms_norm(residual)`, for the first `rows` rows; all f32
/// `[max_rows, width]` and three different tensors.
///
/// # Errors
/// When a shape or type does not fit.
pub fn add_rms_norm(
    ctx: &Context,
    residual: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    eps: f32,
    rows: usize,
    out: &Tensor,
) -> Result<(), KernelError> {
    let width = width_of("add_rms_norm", "residual", residual, rows)?;
    check_rows("add_rms_norm", "x", x, rows, width)?;
    check_vector("add_rms_norm", "weight", weight, width)?;
    check_rows("add_rms_norm", "out", out, rows, width)?;
    if width == 0 {
        return Ok(());
    }
    write::<f32, _>(residual, |residual| {
        let residual = Disjoint::new(residual);
        read::<f32, _>(x, |x| {
            read::<f32, _>(weight, |weight| {
                write::<f32, _>(out, |out| {
                    let out = Disjoint::new(out);
                    ctx.pool().for_ranges(rows, row_grain(width), |range| {
                        let part = range.start * width..range.end * width;
                        // SAFETY: ranges of rows are disjoint, in both tensors.
                        let (sum, out) =
                            unsafe { (residual.part(part.clone()), out.part(part.clone())) };
                        add_rows(sum, &x[part]);
                        dispatch(ctx.isa(), NormRows { x: sum, weight, eps, out });
                    })
                })
            })
        })
    })????
}

/// `residual += x` for the first `rows` rows; both f32 `[max_rows, width]`, different tensors.
///
/// # Errors
/// When a shape or type does not fit.
pub fn add(ctx: &Context, residual: &Tensor, x: &Tensor, rows: usize) -> Result<(), KernelError> {
    let width = width_of("add", "residual", residual, rows)?;
    check_rows("add", "x", x, rows, width)?;
    write::<f32, _>(residual, |residual| {
        let residual = Disjoint::new(residual);
        read::<f32, _>(x, |x| {
            ctx.pool().for_ranges(rows, row_grain(width), |range| {
                let part = range.start * width..range.end * width;
                // SAFETY: ranges of rows are disjoint.
                add_rows(unsafe { residual.part(part.clone()) }, &x[part]);
            })
        })
    })??
}

fn add_rows(sum: &mut [f32], x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

struct NormRows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for NormRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.weight.len();
        for (x, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let scale = inverse_rms(s, x, self.eps);
            for ((out, x), w) in out.iter_mut().zip(x).zip(self.weight) {
                *out = x * scale * w;
            }
        }
    }
}

/// `1 / sqrt(mean(x^2) + eps)`, summed in four vectors in turn.
#[inline(always)]
pub(super) fn inverse_rms<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let (vectors, rest) = x.as_chunks::<LANES>();
    let (quads, singles) = vectors.as_chunks::<4>();
    for quad in quads {
        for (sum, v) in sums.iter_mut().zip(quad) {
            let v = s.load(v);
            *sum = s.fma(v, v, *sum);
        }
    }
    for v in singles {
        let v = s.load(v);
        sums[0] = s.fma(v, v, sums[0]);
    }
    let mut tail = [0.0; LANES];
    tail[..rest.len()].copy_from_slice(rest);
    let v = s.load(&tail);
    sums[1] = s.fma(v, v, sums[1]);
    let total = s.reduce_add(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])));
    1.0 / (total / x.len() as f32 + eps).sqrt()
}
