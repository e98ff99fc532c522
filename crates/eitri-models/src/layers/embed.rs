//! Token embeddings and the head that may share their weight.

use candle_core::Tensor;
use eitri_kernels::{Context, KernelError, Weight, ops};
use eitri_quant::Linear;

use crate::{ModelError, arena::Arena, loader::Loader};

pub(crate) struct Embedding {
    table: Weight,
    head: Linear,
}

impl Embedding {
    /// Loads the table and, unless it is tied, the head.
    pub(crate) fn load(loader: &Loader<'_>) -> Result<Self, ModelError> {
        let table = loader.weight(&loader.weights().embedding()?)?;
        let head = match loader.weights().output()? {
            Some(output) => loader.linear(vec![output])?,
            None => Linear::from_weight(table.clone()),
        };
        Ok(Self { table, head })
    }

    /// `residual = table[tokens]`.
    pub(crate) fn forward(
        &self,
        ctx: &Context,
        tokens: &[u32],
        arena: &Arena,
    ) -> Result<(), KernelError> {
        ops::embed(ctx, &self.table, tokens, &arena.residual)
    }

    /// Logits of some rows of `normed`.
    pub(crate) fn logits(
        &self,
        ctx: &Context,
        row_ids: &[u32],
        arena: &Arena,
        logits: &Tensor,
    ) -> Result<(), KernelError> {
        self.head.forward_rows(ctx, &arena.normed, row_ids, logits)
    }
}
