//! Parts that architectures are built from. Each works on the step arena and allocates nothing.

mod attention;
mod embed;
mod mlp;
mod moe;
mod norm;

pub(crate) use attention::Attention;
pub(crate) use embed::Embedding;
pub(crate) use mlp::Mlp;
pub(crate) use moe::Moe;
pub(crate) use norm::Norm;

use eitri_kernels::{Context, KernelError};

use crate::arena::Arena;

/// The second half of a layer, from `normed` to `delta`.
pub(crate) enum FeedForward {
    Dense(Mlp),
    Sparse(Moe),
}

impl FeedForward {
    pub(crate) fn forward(
        &self,
        ctx: &Context,
        rows: usize,
        arena: &mut Arena,
    ) -> Result<(), KernelError> {
        match self {
            Self::Dense(mlp) => mlp.forward(ctx, rows, arena),
            Self::Sparse(moe) => moe.forward(ctx, rows, arena),
        }
    }
}
