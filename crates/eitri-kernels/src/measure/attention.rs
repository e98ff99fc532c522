//! Attention, and what it needs before.

use candle_core::{DType, Device, Tensor};

use super::best;
use crate::{
    Context, HeadShape, KV_BLOCK, KernelError, KvLayer, RopeScaling, RopeTable,
    ops::{QkvPrep, SequenceSpan, attention, prepare_qkv},
};

/// Sequences of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionSize {
    /// How many.
    pub batch: usize,
    /// Rows of each that attend, its last ones.
    pub rows: usize,
    /// Tokens of each, those rows included.
    pub context: usize,
}

/// Seconds of attention over keys and values of type `dtype`. One of several layers per call, so
/// that decode reads memory rather than caches.
///
/// # Errors
/// When the kernels fail.
pub fn attention_seconds(
    ctx: &Context,
    shape: HeadShape,
    dtype: DType,
    size: AttentionSize,
) -> Result<f64, KernelError> {
    let AttentionSize { batch, rows: len, context } = size;
    let blocks = context.div_ceil(KV_BLOCK);
    let per_layer = KvLayer::bytes_per_block(&shape, dtype)? * blocks * batch;
    let layers = if len > 1 { 1 } else { (192_usize << 20).div_ceil(per_layer) };
    // Written once: untouched memory would be one shared page of zeros.
    let layers = (0..layers)
        .map(|_| {
            let kv = KvLayer::new(blocks * batch, KV_BLOCK, shape, dtype)?;
            for block in 1..blocks * batch {
                kv.copy_block(0, block, KV_BLOCK)?;
            }
            Ok(kv)
        })
        .collect::<Result<Vec<_>, KernelError>>()?;
    // A stride coprime to any number of blocks in use scatters the sequences.
    let tables: Vec<u32> =
        (0..blocks * batch).map(|i| (i * 7919 % (blocks * batch)) as u32).collect();
    let spans: Vec<SequenceSpan> = (0..batch)
        .map(|s| SequenceSpan { row: s * len, len, context, table: s * blocks })
        .collect();
    let qkv = Tensor::randn(0.0_f32, 1.0, (batch * len, shape.qkv_width()), &Device::Cpu)?;
    let out = Tensor::zeros((batch * len, shape.heads * shape.head_dim), DType::F32, &Device::Cpu)?;
    let mut next = 0;
    best(|| {
        next = (next + 1) % layers.len();
        attention(ctx, 0.1, &qkv, &spans, &tables, &layers[next], &out)
    })
}

/// Seconds to rotate and write the keys and values of `rows` tokens.
///
/// # Errors
/// When the kernels fail.
pub fn write_seconds(
    ctx: &Context,
    shape: HeadShape,
    dtype: DType,
    rows: usize,
) -> Result<f64, KernelError> {
    let kv = KvLayer::new(rows.div_ceil(KV_BLOCK), KV_BLOCK, shape, dtype)?;
    let rope = RopeTable::new(shape.head_dim, rows, &RopeScaling::None, 1e6)?;
    let qkv = Tensor::randn(0.0_f32, 1.0, (rows, shape.qkv_width()), &Device::Cpu)?;
    let positions: Vec<u32> = (0..rows as u32).collect();
    let prep = QkvPrep {
        shape,
        q_norm: None,
        k_norm: None,
        eps: 1e-6,
        rope: &rope,
        positions: &positions,
        slots: &positions,
    };
    best(|| prepare_qkv(ctx, &prep, &qkv, rows, &kv))
}
