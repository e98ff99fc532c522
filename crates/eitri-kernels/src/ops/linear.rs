//! Matrix products with packed weights: `y = x W^T`.

#![allow(
    unsafe_code,
    reason = "kernels need their instruction set; threads write disjoint columns"
)]

use std::mem::MaybeUninit;

use candle_core::Tensor;

use crate::{
    Context, KernelError, Weight, WeightFormat,
    disjoint::Disjoint,
    matmul::{Kernel, MAX_ROWS, MAX_STRIP_ROWS, StripCall},
    read,
    weight::Layout,
    write,
};

/// Rows below which activations are prepared by the calling thread alone.
const SERIAL_ROWS: usize = 4;
/// Bytes of f32 activations that one pass over a strip reads: half of a small L2 cache.
const BLOCK_BYTES: usize = 256 << 10;

/// The kernel that multiplies weights of `format`, for `eitri inspect`.
pub fn kernel_name(ctx: &Context, format: WeightFormat) -> &'static str {
    Kernel::pick(ctx.isa(), format, ctx.activations()).name
}

/// `y[r, y_offset + n] = sum over k of x[r, k] * w[n, k]` for the first `rows` rows.
///
/// `x` is `[max, K]` f32 and `y` `[max, ldy]` f32 with `ldy >= y_offset + N`; other columns of `y`
/// keep their values.
///
/// # Errors
/// When a shape or type does not fit, or `w` holds experts.
pub fn linear(
    ctx: &Context,
    w: &Weight,
    x: &Tensor,
    rows: usize,
    y: &Tensor,
    y_offset: usize,
) -> Result<(), KernelError> {
    let (x_rows, ldy) = check(w, x, y, y_offset)?;
    packed_for(ctx, "linear", w)?;
    within("linear", "rows", rows, x_rows)?;
    let mut scratch = ctx.scratch();
    let scratch = &mut *scratch;
    scratch.indices.clear();
    scratch.indices.extend(0..rows as u32);
    let buffers = (&mut scratch.bytes, &mut scratch.floats);
    product(ctx, w, x, &scratch.indices, buffers, y, Columns { ldy, offset: y_offset })
}

/// `linear` of the rows of `x` named by `row_ids`, in that order, into the first rows of `y`.
///
/// # Errors
/// When a shape or type does not fit, `w` holds experts, or an id is not a row of `x`.
pub fn linear_rows(
    ctx: &Context,
    w: &Weight,
    x: &Tensor,
    row_ids: &[u32],
    y: &Tensor,
) -> Result<(), KernelError> {
    let (x_rows, ldy) = check(w, x, y, 0)?;
    packed_for(ctx, "linear_rows", w)?;
    for &id in row_ids {
        within("linear_rows", "row id", id as usize + 1, x_rows)?;
    }
    let mut scratch = ctx.scratch();
    let scratch = &mut *scratch;
    let buffers = (&mut scratch.bytes, &mut scratch.floats);
    product(ctx, w, x, row_ids, buffers, y, Columns { ldy, offset: 0 })
}

/// Where a product's columns lie in the output.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub(super) ldy: usize,
    pub(super) offset: usize,
}

fn product(
    ctx: &Context,
    w: &Weight,
    x: &Tensor,
    rows: &[u32],
    (records, ordered): (&mut Vec<u8>, &mut Vec<f32>),
    y: &Tensor,
    columns: Columns,
) -> Result<(), KernelError> {
    let kernel = Kernel::pick(ctx.isa(), w.format(), ctx.activations());
    within("linear", "rows", rows.len(), y.dims()[0])?;
    read::<f32, _>(x, |x| {
        let x = in_order(ctx, w, x, rows, ordered)?;
        let records = prepare(ctx, &kernel, x, w.k(), rows, records)?;
        let input = Input { kernel, values: x, records, k: w.k() };
        write::<f32, _>(y, |y| {
            let y = Disjoint::new(y);
            let grain = grain(ctx, w.strips());
            w.with_strips(|strips| {
                ctx.pool().for_stretches(w.strips(), grain, |range| {
                    for block in blocks(&input, rows.len()) {
                        let pass = Pass {
                            rows: &rows[block.clone()],
                            out_rows: OutRows::From(block.start),
                        };
                        for s in range.clone() {
                            // SAFETY: each strip is in one range, so columns do not overlap.
                            unsafe { strip(w, &input, strips, s, &pass, &y, columns) };
                        }
                    }
                })
            })?
        })?
    })?
}

/// The activations of one product.
pub(super) struct Input<'a> {
    pub(super) kernel: Kernel,
    pub(super) values: &'a [f32],
    pub(super) records: &'a [u8],
    pub(super) k: usize,
}

/// Which rows are multiplied and where their results go.
pub(super) struct Pass<'a> {
    pub(super) rows: &'a [u32],
    pub(super) out_rows: OutRows<'a>,
}

/// Output rows of a pass.
pub(super) enum OutRows<'a> {
    /// Consecutive rows from this one on.
    From(usize),
    /// One per input row.
    Ids(&'a [u32]),
}

/// Rows of activations that one pass over a strip takes, so that they stay in the L2 cache.
pub(super) fn blocks(
    input: &Input<'_>,
    rows: usize,
) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let fitting =
        if input.records.is_empty() { BLOCK_BYTES / (4 * input.k) / 6 * 6 } else { MAX_ROWS };
    let step = fitting.clamp(6, MAX_ROWS);
    (0..rows).step_by(step).map(move |start| start..(start + step).min(rows))
}

/// Strips per job: some eight jobs per thread, so that a delayed thread holds up little.
pub(super) fn grain(ctx: &Context, strips: usize) -> usize {
    (strips / (8 * ctx.pool().threads())).max(1)
}

/// Multiplies strip `s` (counted over all experts) with the rows of a pass.
///
/// # Safety
/// No other thread writes the strip's columns of these output rows meanwhile.
pub(super) unsafe fn strip(
    w: &Weight,
    input: &Input<'_>,
    strips: &[u8],
    s: usize,
    pass: &Pass<'_>,
    y: &Disjoint<'_, f32>,
    columns: Columns,
) {
    let strip_rows = w.layout().rows();
    // Only what this call uses is written: with one row, all of it would cost a tenth of the time.
    let mut buffer = [const { MaybeUninit::<f32>::uninit() }; MAX_ROWS * MAX_STRIP_ROWS];
    let out = &mut buffer[..pass.rows.len() * strip_rows];
    for value in &mut *out {
        value.write(0.0);
    }
    // SAFETY: just written.
    let out = unsafe { out.assume_init_mut() };
    let call = StripCall {
        format: w.format(),
        layout: w.layout(),
        strip: &strips[s * w.strip_bytes()..(s + 1) * w.strip_bytes()],
        k: input.k,
        values: input.values,
        records: input.records,
        rows: pass.rows,
    };
    // SAFETY: the context's instruction set was detected on this CPU.
    unsafe { (input.kernel.run)(&call, out) };
    let column = s % w.strips() * strip_rows;
    let width = strip_rows.min(w.n() - column);
    for (i, values) in out.chunks_exact(strip_rows).enumerate() {
        let row = match pass.out_rows {
            OutRows::From(first) => first + i,
            OutRows::Ids(ids) => ids[i] as usize,
        };
        let start = row * columns.ldy + columns.offset + column;
        // SAFETY: by the caller's promise.
        copy(&values[..width], unsafe { y.part(start..start + width) });
    }
}

/// Copies sixteen values at a time without a call.
fn copy(from: &[f32], to: &mut [f32]) {
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<16>(), to.as_chunks_mut::<16>());
    for (from, to) in from.iter().zip(to) {
        *to = *from;
    }
    to_rest.copy_from_slice(from_rest);
}

/// The rows of `x` that `rows` names, at their places, with the inputs in the order of the weight's
/// columns; `x` itself for a weight that takes them as they are.
pub(super) fn in_order<'a>(
    ctx: &Context,
    w: &Weight,
    x: &'a [f32],
    rows: &[u32],
    ordered: &'a mut Vec<f32>,
) -> Result<&'a [f32], KernelError> {
    let Some(order) = w.input_order() else { return Ok(x) };
    let k = w.k();
    let last = rows.iter().max().map_or(0, |&r| r as usize + 1);
    if ordered.len() < last * k {
        ordered.resize(last * k, 0.0);
    }
    let ordered = &mut ordered[..last * k];
    let shared = Disjoint::new(ordered);
    let one = |r: usize| {
        let x = &x[r * k..(r + 1) * k];
        // SAFETY: as for `prepare`: equal ids are in one job only when serial.
        let out = unsafe { shared.part(r * k..(r + 1) * k) };
        for (out, &from) in out.iter_mut().zip(order) {
            *out = x[from as usize];
        }
    };
    if rows.len() < SERIAL_ROWS || rows.len() != last {
        for &r in rows {
            one(r as usize);
        }
    } else {
        ctx.pool().for_ranges(last, SERIAL_ROWS, |range| range.for_each(one))?;
    }
    Ok(ordered)
}

/// Prepares the rows of `x` that `rows` names, at the places of these rows; nothing for a kernel
/// that reads `x` itself.
pub(super) fn prepare<'a>(
    ctx: &Context,
    kernel: &Kernel,
    x: &[f32],
    k: usize,
    rows: &[u32],
    records: &'a mut Vec<u8>,
) -> Result<&'a [u8], KernelError> {
    let Some(prepare) = kernel.prepare else { return Ok(&[]) };
    let bytes = kernel.row_bytes(k);
    let last = rows.iter().max().map_or(0, |&r| r as usize + 1);
    if records.len() < last * bytes {
        records.resize(last * bytes, 0);
    }
    let records = &mut records[..last * bytes];
    let shared = Disjoint::new(records);
    let one = |r: usize| {
        // SAFETY: the instruction set was detected on this CPU; equal ids are in one job only
        // when serial, and distinct ids do not overlap.
        unsafe { (prepare.row)(&x[r * k..(r + 1) * k], shared.part(r * bytes..(r + 1) * bytes)) }
    };
    if rows.len() < SERIAL_ROWS || rows.len() != last {
        for &r in rows {
            one(r as usize);
        }
    } else {
        ctx.pool().for_ranges(last, SERIAL_ROWS, |range| range.for_each(one))?;
    }
    Ok(records)
}

fn check(
    w: &Weight,
    x: &Tensor,
    y: &Tensor,
    y_offset: usize,
) -> Result<(usize, usize), KernelError> {
    let shape = |what, expected: String, got: String| {
        Err(KernelError::Shape { op: "linear", what, expected, got })
    };
    if w.experts() != 1 {
        return shape("weight", "one matrix".into(), format!("{} experts", w.experts()));
    }
    let &[x_rows, k] = x.dims() else {
        return shape("x", "[rows, K]".into(), format!("{:?}", x.dims()));
    };
    if k != w.k() {
        return shape("x", format!("[rows, {}]", w.k()), format!("{:?}", x.dims()));
    }
    match *y.dims() {
        [_, ldy] if ldy >= y_offset + w.n() => Ok((x_rows, ldy)),
        _ => shape("y", format!("[rows, >= {}]", y_offset + w.n()), format!("{:?}", y.dims())),
    }
}

/// Refuses weights in the layout of another instruction set.
pub(super) fn packed_for(ctx: &Context, op: &'static str, w: &Weight) -> Result<(), KernelError> {
    if w.layout() == Layout::of(ctx.isa()) {
        return Ok(());
    }
    let what = format!("weights that were packed for other instructions than {}", ctx.isa().name());
    Err(KernelError::Unsupported { op, what })
}

pub(super) fn within(
    op: &'static str,
    what: &'static str,
    got: usize,
    max: usize,
) -> Result<(), KernelError> {
    if got <= max {
        return Ok(());
    }
    Err(KernelError::Shape { op, what, expected: format!("at most {max}"), got: got.to_string() })
}
