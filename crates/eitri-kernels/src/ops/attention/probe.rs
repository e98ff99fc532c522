//! Start-up probe of the row operations and attention.

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::{SequenceSpan, attention, attention_kernel_name};
use crate::{
    Context, HeadShape, KV_BLOCK, KernelError, KvLayer, KvScales, ProbeReport, RopeScaling,
    RopeTable,
    ops::{QkvPrep, prepare_qkv, rms_norm, silu_mul},
    read,
    reference::{self, Random, relative_difference},
};

/// Sums of f32 in another order than the reference's, which are exact.
const TOLERANCE: f32 = 1e-5;

/// Two query heads to a KV head, and a prompt that ends inside the second run of keys: whole tiles,
/// a rest, and masks are all met.
const SHAPE: HeadShape = HeadShape { heads: 4, kv_heads: 2, head_dim: 64 };
const TOKENS: usize = 75;

/// Adds a report for each row operation and for attention over each type of KV memory.
pub(crate) fn probe(ctx: &Context, reports: &mut Vec<ProbeReport>) -> Result<(), KernelError> {
    probe_rows(ctx, reports)?;
    for dtype in [DType::BF16, DType::F32, DType::F8E4M3] {
        probe_attention(ctx, dtype, reports)?;
    }
    Ok(())
}

fn probe_rows(ctx: &Context, reports: &mut Vec<ProbeReport>) -> Result<(), KernelError> {
    let width = 107;
    let x = Random::new(3).values(2 * width);
    let input = Tensor::from_slice(&x, (1, 2 * width), &Device::Cpu)?;
    let weight = Tensor::from_slice(&x, 2 * width, &Device::Cpu)?;
    let out = Tensor::zeros((1, 2 * width), DType::F32, &Device::Cpu)?;
    rms_norm(ctx, &input, &weight, 1e-6, 1, &out)?;
    let expected = reference::rms_norm(&x, &x, 1e-6);
    let difference = read::<f32, _>(&out, |out| relative_difference(out, &expected))?;
    let case = format!("{} values", 2 * width);
    reports.push(ProbeReport::judge("rms-norm", case, difference, TOLERANCE)?);

    let out = Tensor::zeros((1, width), DType::F32, &Device::Cpu)?;
    silu_mul(ctx, &input, 1, &out)?;
    let expected = reference::silu_mul(&x[..width], &x[width..]);
    let difference = read::<f32, _>(&out, |out| relative_difference(out, &expected))?;
    let case = format!("{width} values");
    reports.push(ProbeReport::judge("silu-mul", case, difference, TOLERANCE)?);
    Ok(())
}

fn probe_attention(
    ctx: &Context,
    dtype: DType,
    reports: &mut Vec<ProbeReport>,
) -> Result<(), KernelError> {
    let (width, out_width) = (SHAPE.qkv_width(), SHAPE.heads * SHAPE.head_dim);
    // Values that bf16 holds exactly, at position 0, which rotates by nothing: the reference then
    // serves both wide types.
    let x: Vec<f32> = Random::new(4)
        .values(TOKENS * width)
        .into_iter()
        .map(|x| bf16::from_f32(x).to_f32())
        .collect();
    let qkv = Tensor::from_slice(&x, (TOKENS, width), &Device::Cpu)?;
    let out = Tensor::zeros((TOKENS, out_width), DType::F32, &Device::Cpu)?;
    let blocks = TOKENS.div_ceil(KV_BLOCK);
    let mut kv = KvLayer::new(blocks, KV_BLOCK, SHAPE, dtype)?;
    if dtype == DType::F8E4M3 {
        kv = kv.with_scales(KvScales { keys: vec![0.3, 0.01], values: vec![0.007, 2.5] })?;
    }
    let table: Vec<u32> = (0..blocks as u32).rev().collect();
    let slots: Vec<u32> = (0..TOKENS)
        .map(|token| table[token / KV_BLOCK] * KV_BLOCK as u32 + (token % KV_BLOCK) as u32)
        .collect();
    let prep = QkvPrep {
        shape: SHAPE,
        q_norm: None,
        k_norm: None,
        eps: 1e-6,
        rope: &RopeTable::new(SHAPE.head_dim, 1, &RopeScaling::None, 1e4)?,
        positions: &[0; TOKENS],
        slots: &slots,
    };
    prepare_qkv(ctx, &prep, &qkv, TOKENS, &kv)?;
    let span = SequenceSpan { row: 0, len: TOKENS, context: TOKENS, table: 0 };
    attention(ctx, 0.125, &qkv, &[span], &table, &kv, &out)?;
    let difference = read::<f32, _>(&out, |out| relative_difference(out, &expected(&x, &kv)))?;
    let case = format!("{TOKENS} tokens");
    let kernel = attention_kernel_name(ctx, dtype);
    reports.push(ProbeReport::judge(kernel, case, difference, TOLERANCE)?);
    Ok(())
}

fn expected(x: &[f32], kv: &KvLayer) -> Vec<f32> {
    let HeadShape { heads, kv_heads, head_dim } = SHAPE;
    let column = |head: usize| -> Vec<f32> {
        x.chunks_exact(SHAPE.qkv_width())
            .flat_map(|row| row[head * head_dim..(head + 1) * head_dim].iter().copied())
            .collect()
    };
    let stored = |head: usize, scale: f32| -> Vec<f32> {
        let fp8 = kv.dtype() == DType::F8E4M3;
        let round = |x: f32| if fp8 { reference::nearest_e4m3(x / scale) * scale } else { x };
        column(head).into_iter().map(round).collect()
    };
    let mut out = vec![0.0; TOKENS * heads * head_dim];
    for head in 0..heads {
        let kv_head = head / SHAPE.group();
        let queries = column(head);
        let keys = stored(heads + kv_head, kv.scales().keys[kv_head]);
        let values = stored(heads + kv_heads + kv_head, kv.scales().values[kv_head]);
        for token in 0..TOKENS {
            let seen = (token + 1) * head_dim;
            let query = &queries[token * head_dim..seen];
            let row = reference::attention(query, &keys[..seen], &values[..seen], 0.125);
            out[(token * heads + head) * head_dim..][..head_dim].copy_from_slice(&row);
        }
    }
    out
}
