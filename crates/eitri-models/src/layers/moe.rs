//! Mixture of experts: a router picks a few feed-forward networks per token.

use eitri_kernels::{Context, KernelError, Weight, ops};
use eitri_quant::Linear;

use crate::{ModelError, MoeConfig, arena::Arena, loader::Loader};

pub(crate) struct Moe {
    router: Linear,
    gate_up: Weight,
    down: Weight,
    renormalise: bool,
}

impl Moe {
    pub(crate) fn load(
        loader: &Loader<'_>,
        layer: usize,
        moe: &MoeConfig,
    ) -> Result<Self, ModelError> {
        let weights = loader.weights();
        Ok(Self {
            router: loader.linear(vec![weights.router(layer, moe)?])?,
            gate_up: loader.weight(&weights.expert_gate_up(layer, moe)?)?,
            down: loader.weight(&weights.expert_down(layer, moe)?)?,
            renormalise: moe.norm_topk_prob,
        })
    }

    pub(crate) fn forward(
        &self,
        ctx: &Context,
        rows: usize,
        arena: &mut Arena,
    ) -> Result<(), KernelError> {
        let Arena { normed, delta, moe, .. } = arena;
        let Some(moe) = moe else {
            return Err(KernelError::Unsupported { op: "moe", what: "a dense model".into() });
        };
        self.router.forward(ctx, normed, rows, &moe.router_logits)?;
        ops::moe_route(ctx, &moe.router_logits, rows, self.renormalise, &mut moe.routing)?;
        let Self { gate_up, down, .. } = self;
        ops::moe_experts(ctx, gate_up, down, normed, rows, &moe.routing, &moe.buffers, delta)
    }
}
