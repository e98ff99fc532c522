//! Everything between the projection of queries, keys and values and attention.

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]
#![allow(unsafe_code, reason = "threads rotate disjoint rows of one tensor")]

use candle_core::{DType, Tensor};
use half::bf16;

use super::{
    norm::{inverse_rms, row_grain},
    operand::{check_len, check_rows, check_vector},
};
use crate::{
    Context, HeadShape, KernelError, KvLayer, RopeTable,
    disjoint::Disjoint,
    kv::{E4m3, KV_BLOCK, KvWriter},
    lanes::{Kernel, Simd, dispatch},
    read, write,
};

/// What [`prepare_qkv`] needs beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct QkvPrep<'a> {
    /// Heads, equal to those of the KV layer.
    pub shape: HeadShape,
    /// Weight of the norm over each query head, f32 `[head_dim]` (Qwen3).
    pub q_norm: Option<&'a Tensor>,
    /// Weight of the norm over each key head, f32 `[head_dim]`.
    pub k_norm: Option<&'a Tensor>,
    /// Epsilon of both norms.
    pub eps: f32,
    /// Rotations.
    pub rope: &'a RopeTable,
    /// Position of each row in its sequence.
    pub positions: &'a [u32],
    /// Where each row's key and value go: `block * 16 + offset`.
    pub slots: &'a [u32],
}

/// Normalises and rotates queries and keys in place, and writes keys and values to the KV layer.
///
/// `qkv` is f32 `[max_rows, (heads + 2 kv_heads) * head_dim]`: query, key and value heads in turn.
///
/// # Errors
/// When a shape or type does not fit, or a position or slot does not exist; nothing is changed then.
pub fn prepare_qkv(
    ctx: &Context,
    prep: &QkvPrep<'_>,
    qkv: &Tensor,
    rows: usize,
    kv: &KvLayer,
) -> Result<(), KernelError> {
    check(prep, qkv, rows, kv)?;
    norm_weight(prep.q_norm, |q_norm| {
        norm_weight(prep.k_norm, |k_norm| {
            write::<f32, _>(qkv, |qkv| {
                kv.write(|kv| {
                    let qkv = Disjoint::new(qkv);
                    let width = prep.shape.qkv_width();
                    ctx.pool().for_ranges(rows, row_grain(width), |range| {
                        // SAFETY: ranges of rows are disjoint.
                        let qkv = unsafe { qkv.part(range.start * width..range.end * width) };
                        let positions = &prep.positions[range.clone()];
                        let slots = &prep.slots[range];
                        let rows = QkvRows { prep, q_norm, k_norm, positions, slots, qkv, kv };
                        dispatch(ctx.isa(), rows);
                    })
                })
            })
        })
    })???
}

fn check(prep: &QkvPrep<'_>, qkv: &Tensor, rows: usize, kv: &KvLayer) -> Result<(), KernelError> {
    const OP: &str = "prepare_qkv";
    let shape = |what, expected, got| KernelError::Shape { op: OP, what, expected, got };
    if prep.shape != kv.shape() {
        let (expected, got) = (format!("{:?}", kv.shape()), format!("{:?}", prep.shape));
        return Err(shape("shape", expected, got));
    }
    let head_dim = prep.shape.head_dim;
    if prep.rope.head_dim() != head_dim {
        let got = prep.rope.head_dim().to_string();
        return Err(shape("head_dim of the rope table", head_dim.to_string(), got));
    }
    check_rows(OP, "qkv", qkv, rows, prep.shape.qkv_width())?;
    for (what, norm) in [("q_norm", prep.q_norm), ("k_norm", prep.k_norm)] {
        norm.map_or(Ok(()), |norm| check_vector(OP, what, norm, head_dim))?;
    }
    check_len(OP, "positions", prep.positions.len(), rows)?;
    check_len(OP, "slots", prep.slots.len(), rows)?;
    let below = |what, values: &[u32], end: usize| match values.iter().max() {
        Some(&most) if most as usize >= end => {
            Err(shape(what, format!("below {end}"), most.to_string()))
        }
        _ => Ok(()),
    };
    below("position", prep.positions, prep.rope.max_positions())?;
    below("slot", prep.slots, kv.num_blocks() * KV_BLOCK)
}

fn norm_weight<R>(
    weight: Option<&Tensor>,
    f: impl FnOnce(Option<&[f32]>) -> R,
) -> Result<R, KernelError> {
    match weight {
        Some(weight) => read::<f32, _>(weight, |weight| f(Some(weight))),
        None => Ok(f(None)),
    }
}

struct QkvRows<'a> {
    prep: &'a QkvPrep<'a>,
    q_norm: Option<&'a [f32]>,
    k_norm: Option<&'a [f32]>,
    positions: &'a [u32],
    slots: &'a [u32],
    qkv: &'a mut [f32],
    kv: &'a KvWriter<'a>,
}

impl Kernel for QkvRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let HeadShape { heads, kv_heads, head_dim } = self.prep.shape;
        let rows = self.qkv.chunks_exact_mut(self.prep.shape.qkv_width());
        for ((row, &position), &slot) in rows.zip(self.positions).zip(self.slots) {
            let (cos, sin) = self.prep.rope.at(position as usize);
            let (queries, rest) = row.split_at_mut(heads * head_dim);
            let (keys, values) = rest.split_at_mut(kv_heads * head_dim);
            for query in queries.chunks_exact_mut(head_dim) {
                norm_head(s, query, self.q_norm, self.prep.eps);
                rotate(query, cos, sin);
            }
            for key in keys.chunks_exact_mut(head_dim) {
                norm_head(s, key, self.k_norm, self.prep.eps);
                rotate(key, cos, sin);
            }
            let heads = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
            for (head, (key, value)) in heads.enumerate() {
                match self.kv.dtype() {
                    DType::BF16 => self.kv.store::<bf16>(slot as usize, head, key, value),
                    DType::F8E4M3 => self.kv.store::<E4m3>(slot as usize, head, key, value),
                    _ => self.kv.store::<f32>(slot as usize, head, key, value),
                }
            }
        }
    }
}

#[inline(always)]
fn norm_head<S: Simd>(s: S, head: &mut [f32], weight: Option<&[f32]>, eps: f32) {
    let Some(weight) = weight else { return };
    let scale = inverse_rms(s, head, eps);
    for (x, w) in head.iter_mut().zip(weight) {
        *x = *x * scale * w;
    }
}

/// Turns each dimension of the first half with its partner in the second.
#[inline(always)]
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}
