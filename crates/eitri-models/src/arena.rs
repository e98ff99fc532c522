//! Tensors of one step, allocated once.

use candle_core::{DType, Device, Tensor};
use eitri_kernels::ops::{MoeBuffers, Routing};

use crate::{ModelConfig, ModelError};

/// All intermediate values, f32 `[max_rows, width]` each. Every layer uses the same ones.
pub(crate) struct Arena {
    /// The stream that layers add to; `[_, hidden]`.
    pub(crate) residual: Tensor,
    /// What a half of a layer adds; `[_, hidden]`.
    pub(crate) delta: Tensor,
    /// Input of a half of a layer; `[_, hidden]`.
    pub(crate) normed: Tensor,
    /// Query, key and value heads.
    pub(crate) qkv: Tensor,
    /// Result of attention; `[_, heads * head_dim]`.
    pub(crate) attended: Tensor,
    /// `[_, 2 * intermediate]`.
    pub(crate) gate_up: Tensor,
    /// `[_, intermediate]`.
    pub(crate) activated: Tensor,
    /// Present in models with experts.
    pub(crate) moe: Option<MoeArena>,
    pub(crate) max_rows: usize,
}

pub(crate) struct MoeArena {
    /// `[_, experts]`.
    pub(crate) router_logits: Tensor,
    pub(crate) routing: Routing,
    pub(crate) buffers: MoeBuffers,
}

/// Columns of the seven dense tensors, in the order of the fields.
fn widths(config: &ModelConfig) -> [usize; 7] {
    let (hidden, dense) = (config.hidden_size, config.dense_intermediate());
    let shape = config.head_shape();
    let heads = shape.heads * shape.head_dim;
    [hidden, hidden, hidden, shape.qkv_width(), heads, 2 * dense, dense]
}

impl Arena {
    pub(crate) fn new(config: &ModelConfig, max_rows: usize) -> Result<Self, ModelError> {
        let zeros = |width| Tensor::zeros((max_rows, width), DType::F32, &Device::Cpu);
        let moe = match &config.moe {
            Some(moe) => Some(MoeArena {
                router_logits: zeros(moe.experts)?,
                routing: Routing::new(max_rows, moe.top_k, moe.experts)?,
                buffers: MoeBuffers::new(
                    max_rows,
                    moe.top_k,
                    config.hidden_size,
                    moe.intermediate_size,
                )?,
            }),
            None => None,
        };
        let [residual, delta, normed, qkv, attended, gate_up, activated] = widths(config);
        Ok(Self {
            residual: zeros(residual)?,
            delta: zeros(delta)?,
            normed: zeros(normed)?,
            qkv: zeros(qkv)?,
            attended: zeros(attended)?,
            gate_up: zeros(gate_up)?,
            activated: zeros(activated)?,
            moe,
            max_rows,
        })
    }
}

/// Bytes of a step's intermediate values and of the logits `[max_logit_rows, vocab]` that the
/// caller allocates. The rotation table is [`ModelConfig::rope_bytes`].
pub fn arena_bytes(config: &ModelConfig, max_rows: usize, max_logit_rows: usize) -> usize {
    const F32: usize = size_of::<f32>();
    let dense = widths(config).iter().sum::<usize>() * max_rows * F32;
    let moe = config.moe.as_ref().map_or(0, |moe| {
        // Ids, weights, tokens and pairs of the routing are four bytes each.
        let routing = 4 * F32 * moe.top_k * max_rows;
        let logits = moe.experts * max_rows * F32;
        let (hidden, width) = (config.hidden_size, moe.intermediate_size);
        routing + logits + MoeBuffers::bytes(max_rows, moe.top_k, hidden, width)
    });
    dense + moe + max_logit_rows * config.vocab_size * F32
}
