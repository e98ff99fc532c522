//! Token embeddings: rows of a packed table as f32.

#![allow(unsafe_code, reason = "threads write disjoint rows")]

use candle_core::Tensor;

use super::linear::within;
use crate::{Context, KernelError, Weight, disjoint::Disjoint, write};

/// Rows that one thread looks up at a time.
const GRAIN: usize = 16;

/// `out[i] = table[ids[i]]` as f32; `out` is `[max, K]` with `max >= ids.len()`.
///
/// # Errors
/// When `out` has another shape or type, or an id is not a row of the table.
pub fn embed(ctx: &Context, table: &Weight, ids: &[u32], out: &Tensor) -> Result<(), KernelError> {
    let (n, k, layout) = (table.n(), table.k(), table.layout());
    match *out.dims() {
        [max, width] if width == k => within("embed", "ids", ids.len(), max)?,
        _ => {
            return Err(KernelError::Shape {
                op: "embed",
                what: "out",
                expected: format!("[rows, {k}]"),
                got: format!("{:?}", out.dims()),
            });
        }
    }
    if table.input_order().is_some() {
        let what = "a table with an order of inputs".to_owned();
        return Err(KernelError::Unsupported { op: "embed", what });
    }
    for &id in ids {
        within("embed", "token id + 1", id as usize + 1, n)?;
    }
    write::<f32, _>(out, |out| {
        let out = Disjoint::new(out);
        table.with_strips(|strips| {
            ctx.pool().for_ranges(ids.len(), GRAIN, |range| {
                for i in range {
                    let (s, r) = (ids[i] as usize / layout.rows(), ids[i] as usize % layout.rows());
                    let strip = &strips[s * table.strip_bytes()..(s + 1) * table.strip_bytes()];
                    // SAFETY: each row of the output belongs to one range.
                    let row = unsafe { out.part(i * k..(i + 1) * k) };
                    table.format().unpack(layout, strip, r, 0, row);
                }
            })
        })?
    })?
}
