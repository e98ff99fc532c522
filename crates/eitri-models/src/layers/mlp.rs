//! Feed-forward network with a `SiLU` gate.

use eitri_kernels::{Context, KernelError, ops};
use eitri_quant::Linear;

use crate::{ModelError, arena::Arena, loader::Loader};

pub(crate) struct Mlp {
    gate_up: Linear,
    down: Linear,
}

impl Mlp {
    pub(crate) fn load(loader: &Loader<'_>, layer: usize) -> Result<Self, ModelError> {
        Ok(Self {
            gate_up: loader.linear(loader.weights().gate_up(layer)?)?,
            down: loader.linear(vec![loader.weights().down(layer)?])?,
        })
    }

    pub(crate) fn forward(
        &self,
        ctx: &Context,
        rows: usize,
        arena: &Arena,
    ) -> Result<(), KernelError> {
        self.gate_up.forward(ctx, &arena.normed, rows, &arena.gate_up)?;
        ops::silu_mul(ctx, &arena.gate_up, rows, &arena.activated)?;
        self.down.forward(ctx, &arena.activated, rows, &arena.delta)
    }
}
