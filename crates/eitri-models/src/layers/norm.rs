//! Root-mean-square norms.

use candle_core::{Device, Tensor};
use eitri_kernels::{Context, KernelError, ops};

use crate::{ModelError, arena::Arena};

/// A norm with its weight, f32.
pub(crate) struct Norm {
    weight: Tensor,
    eps: f32,
}

impl Norm {
    pub(crate) fn new(weight: Vec<f32>, eps: f32) -> Result<Self, ModelError> {
        let len = weight.len();
        Ok(Self { weight: Tensor::from_vec(weight, len, &Device::Cpu)?, eps })
    }

    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `normed = norm(residual)`.
    pub(crate) fn forward(
        &self,
        ctx: &Context,
        rows: usize,
        arena: &Arena,
    ) -> Result<(), KernelError> {
        ops::rms_norm(ctx, &arena.residual, &self.weight, self.eps, rows, &arena.normed)
    }

    /// `residual += delta; normed = norm(residual)`.
    pub(crate) fn add_forward(
        &self,
        ctx: &Context,
        rows: usize,
        arena: &Arena,
    ) -> Result<(), KernelError> {
        let Arena { residual, delta, normed, .. } = arena;
        ops::add_rms_norm(ctx, residual, delta, &self.weight, self.eps, rows, normed)
    }
}
