//! From checked files to packed weights.

use std::cell::Cell;

use eitri_kernels::{Context, Weight};
use eitri_quant::{Cursor, Linear, Matrix, QuantError};

use crate::{
    Model, ModelConfig, ModelError, ModelFiles, UnusedTensors,
    decoder::Decoder,
    layers::Norm,
    weight_plan,
    weights::{Slot, Weights},
};

/// How much of the weights has been packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of matrices consumed.
    pub loaded_bytes: u64,
    /// Bytes of all matrices.
    pub total_bytes: u64,
}

/// Sizes that a model is loaded for.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Rows of the largest step.
    pub max_rows: usize,
    /// Most rows of one step whose logits are asked for.
    pub max_logit_rows: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Called after each matrix.
    pub progress: Option<&'a dyn Fn(LoadProgress)>,
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions")
            .field("max_rows", &self.max_rows)
            .field("max_logit_rows", &self.max_logit_rows)
            .field("max_positions", &self.max_positions)
            .finish_non_exhaustive()
    }
}

/// Packs all weights, on the threads of `ctx`, and allocates the step's memory.
///
/// # Errors
/// When a tensor is missing, has another shape, is stored in a way that is not supported or holds
/// values that are not finite.
pub fn load(
    files: &ModelFiles,
    ctx: &Context,
    options: &LoadOptions<'_>,
) -> Result<Box<dyn Model>, ModelError> {
    let weights = files.weights();
    // Whatever the headers can tell is wrong is found before anything is packed.
    let (plan, order) = weight_plan::plan(&weights, ctx.isa())?;
    let (total_bytes, progress) = (plan.file_bytes(), options.progress);
    let decoder = order.follow(|cursor| {
        let (cursor, loaded) = (Some(cursor), Cell::new(0));
        let loader = Loader { ctx, weights, cursor, progress, total_bytes, loaded };
        Decoder::load(&loader, options.max_rows, options.max_positions)
    })?;
    let UnusedTensors { unknown, known } = files.unused_tensors();
    if !unknown.is_empty() {
        tracing::warn!(tensors = ?unknown, "{} tensors of the checkpoint are not used", unknown.len());
    }
    if !known.is_empty() {
        tracing::info!(tensors = ?known, "{} tensors, of activations or keys and values, are not needed", known.len());
    }
    Ok(Box::new(decoder))
}

/// Packs weights and counts.
pub(crate) struct Loader<'a> {
    ctx: &'a Context,
    weights: Weights<'a>,
    /// Of the thread that reads ahead, if there is one.
    cursor: Option<&'a Cursor>,
    progress: Option<&'a dyn Fn(LoadProgress)>,
    total_bytes: u64,
    loaded: Cell<u64>,
}

impl<'a> Loader<'a> {
    /// Reports nothing.
    pub(crate) fn quiet(ctx: &'a Context, weights: Weights<'a>) -> Self {
        let loaded = Cell::new(0);
        Self { ctx, weights, cursor: None, progress: None, total_bytes: 0, loaded }
    }

    pub(crate) fn config(&self) -> &'a ModelConfig {
        self.weights.config()
    }

    pub(crate) fn weights(&self) -> &Weights<'a> {
        &self.weights
    }

    pub(crate) fn norm(&self, slot: Slot, layer: usize) -> Result<Norm, ModelError> {
        Norm::new(self.weights.norm(slot, layer)?, self.config().rms_norm_eps)
    }

    pub(crate) fn linear(&self, parts: Vec<Matrix<'a>>) -> Result<Linear, ModelError> {
        let bytes = parts.iter().map(|part| part.file_bytes() as u64).sum();
        self.packing(bytes, || Linear::load(self.ctx, parts))
    }

    pub(crate) fn weight(&self, matrix: &Matrix<'_>) -> Result<Weight, ModelError> {
        self.packing(matrix.file_bytes() as u64, || Linear::pack(self.ctx, matrix))
    }

    /// Packs `bytes` bytes of the files, and says so.
    fn packing<T>(
        &self,
        bytes: u64,
        pack: impl FnOnce() -> Result<T, QuantError>,
    ) -> Result<T, ModelError> {
        self.cursor.inspect(|cursor| cursor.begin(bytes));
        let packed = pack()?;
        self.cursor.inspect(|cursor| cursor.finish());
        self.loaded.set(self.loaded.get() + bytes);
        if let Some(progress) = self.progress {
            let (loaded_bytes, total_bytes) = (self.loaded.get(), self.total_bytes);
            progress(LoadProgress { loaded_bytes, total_bytes });
        }
        Ok(packed)
    }
}
