//! Facts about a model, known before it is loaded.

use std::path::{Path, PathBuf};

use eitri_kernels::Isa;
use eitri_models::{ModelConfig, ModelFiles, Published, UnusedTensors, WeightPlan};

use crate::{Error, resolve::Location};

/// What a model is and what its weights take.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Hub id, short name, or the name of its directory or file.
    pub name: String,
    /// Directory or GGUF file; `None` for a model that is part of the program, or only its
    /// configuration is.
    pub path: Option<PathBuf>,
    /// Shape of the network.
    pub config: ModelConfig,
    /// Its matrices by kind: formats, shapes, bytes.
    pub weights: WeightPlan,
    /// Whether its checkpoint has scales for an FP8 KV cache.
    pub has_kv_scales: bool,
    /// Tensors of its files that it does not use.
    pub unused: UnusedTensors,
    /// Instruction set that its kernels use, such as `avx2`.
    pub instruction_set: &'static str,
}

impl ModelInfo {
    pub(crate) fn of(files: &ModelFiles, location: Location) -> Result<Self, Error> {
        let isa = Isa::detect();
        Ok(Self {
            path: location.path().map(Path::to_owned),
            name: location.name.unwrap_or_else(|| files.name().to_owned()),
            config: files.config().clone(),
            weights: files.weight_plan(isa)?,
            has_kv_scales: !files.kv_scales()?.is_empty(),
            unused: files.unused_tensors(),
            instruction_set: isa.name(),
        })
    }

    /// The facts about a published checkpoint that its configuration tells.
    ///
    /// # Errors
    /// When the configuration does not tell them.
    pub fn of_published(published: &Published) -> Result<Self, Error> {
        let isa = Isa::detect();
        Ok(Self {
            name: published.describe(),
            path: None,
            config: published.config()?,
            weights: published.weight_plan(isa)?,
            has_kv_scales: false,
            unused: UnusedTensors::default(),
            instruction_set: isa.name(),
        })
    }

    /// Where the model is, for people.
    pub fn place(&self) -> String {
        self.path
            .as_ref()
            .map_or("part of the program".to_owned(), |path| path.display().to_string())
    }

    /// Values in all matrices; norms, which are a few thousandths of that, are not counted.
    pub fn parameters(&self) -> u64 {
        let values = |row: &eitri_models::WeightPlanRow| {
            row.n as u64 * row.k as u64 * row.experts as u64 * row.count as u64
        };
        self.weights.rows.iter().map(values).sum()
    }

    /// Bytes of keys and values that one token of context takes, over all layers.
    pub fn kv_bytes_per_token(&self, dtype: eitri_runner::KvDtype) -> u64 {
        let ModelConfig { layers, kv_heads, head_dim, .. } = self.config;
        (2 * layers * kv_heads * head_dim * dtype.bytes()) as u64
    }
}
