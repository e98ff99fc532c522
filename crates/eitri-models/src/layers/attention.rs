//! Grouped-query attention over paged keys and values.

use eitri_kernels::{Context, HeadShape, KernelError, KvLayer, RopeTable, ops, ops::QkvPrep};
use eitri_quant::Linear;

use super::Norm;
use crate::{ModelError, ModelInput, arena::Arena, loader::Loader, weights::Slot};

pub(crate) struct Attention {
    qkv: Linear,
    output: Linear,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    shape: HeadShape,
    eps: f32,
}

impl Attention {
    pub(crate) fn load(loader: &Loader<'_>, layer: usize) -> Result<Self, ModelError> {
        let config = loader.config();
        let head_norm = |slot| config.qk_norm.then(|| loader.norm(slot, layer)).transpose();
        Ok(Self {
            qkv: loader.linear(loader.weights().qkv(layer)?)?,
            output: loader.linear(vec![loader.weights().attention_output(layer)?])?,
            q_norm: head_norm(Slot::QueryNorm)?,
            k_norm: head_norm(Slot::KeyNorm)?,
            shape: config.head_shape(),
            eps: config.rms_norm_eps,
        })
    }

    pub(crate) fn forward(
        &self,
        ctx: &Context,
        input: &ModelInput<'_>,
        rope: &RopeTable,
        kv: &KvLayer,
        arena: &Arena,
    ) -> Result<(), KernelError> {
        let rows = input.tokens.len();
        self.qkv.forward(ctx, &arena.normed, rows, &arena.qkv)?;
        let prep = QkvPrep {
            shape: self.shape,
            q_norm: self.q_norm.as_ref().map(Norm::weight),
            k_norm: self.k_norm.as_ref().map(Norm::weight),
            eps: self.eps,
            rope,
            positions: input.positions,
            slots: input.slots,
        };
        ops::prepare_qkv(ctx, &prep, &arena.qkv, rows, kv)?;
        let scale = 1.0 / (self.shape.head_dim as f32).sqrt();
        let ModelInput { spans, block_tables, .. } = *input;
        ops::attention(ctx, scale, &arena.qkv, spans, block_tables, kv, &arena.attended)?;
        self.output.forward(ctx, &arena.attended, rows, &arena.delta)
    }
}
