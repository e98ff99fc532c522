//! The chosen experts' feed-forward networks.

#![allow(unsafe_code, reason = "threads write disjoint columns")]

use candle_core::{DType, Device, Tensor};

use super::Routing;
use crate::{
    Context, KernelError, Weight,
    disjoint::Disjoint,
    matmul::Kernel,
    ops::{
        activation::silu_mul,
        linear::{
            Columns, Input, OutRows, Pass, blocks, grain, in_order, packed_for, prepare, strip,
            within,
        },
    },
    read, write,
};

/// Intermediate values of [`moe_experts`], one row per (token, slot) pair.
#[derive(Debug)]
pub struct MoeBuffers {
    gate_up: Tensor,
    activated: Tensor,
    down: Tensor,
}

impl MoeBuffers {
    /// Room for `max_rows` tokens with `top_k` experts each.
    ///
    /// # Errors
    /// When memory cannot be allocated.
    pub fn new(
        max_rows: usize,
        top_k: usize,
        hidden: usize,
        intermediate: usize,
    ) -> Result<Self, KernelError> {
        let zeros = |width| Tensor::zeros((max_rows * top_k, width), DType::F32, &Device::Cpu);
        Ok(Self {
            gate_up: zeros(2 * intermediate)?,
            activated: zeros(intermediate)?,
            down: zeros(hidden)?,
        })
    }

    /// What the second halves of the experts multiplied last: `[max_rows * top_k, intermediate]`,
    /// the rows of a token one after the other.
    pub fn activated(&self) -> &Tensor {
        &self.activated
    }

    /// Bytes that [`Self::new`] allocates, for the memory plan.
    pub fn bytes(max_rows: usize, top_k: usize, hidden: usize, intermediate: usize) -> usize {
        4 * max_rows * top_k * (3 * intermediate + hidden)
    }
}

/// `y[t] = sum over the slots of token t of weight * down_e(silu(gate_e(x[t])) * up_e(x[t]))`.
///
/// `gate_up` is `experts x [2I, K]` with the gate rows first, `down` `experts x [K, I]`, `x` and
/// `y` are `[max, K]` f32; the first `rows` rows of `y` are overwritten. Only the bytes of chosen
/// experts are read, each once for all of its tokens. Slots are added in their order, so that a
/// token's sum does not depend on the other tokens.
///
/// # Errors
/// When a shape or type does not fit, or `routing` is not that of these rows.
#[allow(clippy::too_many_arguments, reason = "two weights, four tensors' worth of operands")]
pub fn moe_experts(
    ctx: &Context,
    gate_up: &Weight,
    down: &Weight,
    x: &Tensor,
    rows: usize,
    routing: &Routing,
    scratch: &MoeBuffers,
    y: &Tensor,
) -> Result<(), KernelError> {
    check(gate_up, down, x, rows, routing, scratch, y)?;
    let hidden = down.n();
    expert_products(ctx, gate_up, x, Source::Tokens, routing, &scratch.gate_up)?;
    silu_mul(ctx, &scratch.gate_up, rows * routing.top_k(), &scratch.activated)?;
    expert_products(ctx, down, &scratch.activated, Source::Pairs, routing, &scratch.down)?;
    let weights = routing.weights();
    read::<f32, _>(&scratch.down, |parts| {
        write::<f32, _>(y, |y| {
            let y = Disjoint::new(y);
            ctx.pool().for_ranges(rows, 4, |range| {
                for t in range {
                    // SAFETY: each row belongs to one range.
                    let out = unsafe { y.part(t * hidden..(t + 1) * hidden) };
                    out.fill(0.0);
                    for pair in t * routing.top_k()..(t + 1) * routing.top_k() {
                        let part = &parts[pair * hidden..(pair + 1) * hidden];
                        for (out, part) in out.iter_mut().zip(part) {
                            *out += weights[pair] * part;
                        }
                    }
                }
            })
        })?
    })?
}

/// Which rows of its input an expert multiplies.
#[derive(Clone, Copy)]
enum Source {
    Tokens,
    Pairs,
}

/// `y[pair] = w_e x[source of pair]` for every pair of every chosen expert.
fn expert_products(
    ctx: &Context,
    w: &Weight,
    x: &Tensor,
    source: Source,
    routing: &Routing,
    y: &Tensor,
) -> Result<(), KernelError> {
    packed_for(ctx, "moe_experts", w)?;
    let kernel = Kernel::pick(ctx.isa(), w.format(), ctx.activations());
    let mut scratch = ctx.scratch();
    let scratch = &mut *scratch;
    let rows = match source {
        Source::Tokens => routing.rows(),
        Source::Pairs => routing.rows() * routing.top_k(),
    };
    scratch.indices.clear();
    scratch.indices.extend(0..rows as u32);
    let (chosen, per_expert) = (routing.chosen(), w.strips());
    read::<f32, _>(x, |x| {
        let x = in_order(ctx, w, x, &scratch.indices, &mut scratch.floats)?;
        let records = prepare(ctx, &kernel, x, w.k(), &scratch.indices, &mut scratch.bytes)?;
        let input = Input { kernel, values: x, records, k: w.k() };
        write::<f32, _>(y, |y| {
            let y = Disjoint::new(y);
            let columns = Columns { ldy: w.n(), offset: 0 };
            let items = chosen.len() * per_expert;
            w.with_strips(|strips| {
                ctx.pool().for_stretches(items, grain(ctx, items), |range| {
                    for item in range {
                        let expert = chosen[item / per_expert] as usize;
                        let (tokens, pairs) = routing.of_expert(expert);
                        let rows = if matches!(source, Source::Tokens) { tokens } else { pairs };
                        for block in blocks(&input, rows.len()) {
                            let pass = Pass {
                                rows: &rows[block.clone()],
                                out_rows: OutRows::Ids(&pairs[block]),
                            };
                            let s = expert * per_expert + item % per_expert;
                            // SAFETY: a strip's columns of a pair belong to one item only.
                            unsafe { strip(w, &input, strips, s, &pass, &y, columns) };
                        }
                    }
                })
            })?
        })?
    })?
}

fn check(
    gate_up: &Weight,
    down: &Weight,
    x: &Tensor,
    rows: usize,
    routing: &Routing,
    scratch: &MoeBuffers,
    y: &Tensor,
) -> Result<(), KernelError> {
    let shape = |what, expected: String, got: String| {
        Err(KernelError::Shape { op: "moe_experts", what, expected, got })
    };
    let (hidden, intermediate, experts) = (gate_up.k(), down.k(), routing.experts());
    if gate_up.n() != 2 * intermediate || gate_up.experts() != experts {
        let got = format!("{} x [{}, {hidden}]", gate_up.experts(), gate_up.n());
        return shape("gate_up", format!("{experts} x [{}, {hidden}]", 2 * intermediate), got);
    }
    if down.n() != hidden || down.experts() != experts {
        let got = format!("{} x [{}, {intermediate}]", down.experts(), down.n());
        return shape("down", format!("{experts} x [{hidden}, {intermediate}]"), got);
    }
    for (what, tensor) in [("x", x), ("y", y)] {
        match *tensor.dims() {
            [max, width] if width == hidden => within("moe_experts", "rows", rows, max)?,
            _ => return shape(what, format!("[rows, {hidden}]"), format!("{:?}", tensor.dims())),
        }
    }
    if routing.rows() != rows {
        return shape("routing", format!("of {rows} rows"), format!("of {} rows", routing.rows()));
    }
    let buffers = [
        (&scratch.gate_up, 2 * intermediate),
        (&scratch.activated, intermediate),
        (&scratch.down, hidden),
    ];
    for (buffer, width) in buffers {
        match *buffer.dims() {
            [max, got] if got == width => {
                within("moe_experts", "rows x top_k", rows * routing.top_k(), max)?;
            }
            _ => {
                return shape(
                    "scratch",
                    format!("[pairs, {width}]"),
                    format!("{:?}", buffer.dims()),
                );
            }
        }
    }
    Ok(())
}
