//! A model directory or GGUF file becomes a runnable network.
//!
//! [`ModelFiles::open`] reads configuration and headers and checks them; [`load`] packs the weights
//! and returns a [`Model`], whose one operation is a step over a flat batch. Models see token ids,
//! positions and block tables, never requests, text or scheduling. [`export_gguf`] writes a model as a
//! GGUF file, quantised or not, [`export_directory`] as a quantised Hugging Face directory;
//! [`dequantise`] writes plain tensors of any checkpoint.
//!
//! An architecture is one file in `arch/` over the shared `layers/`, and a line in the registry.

mod arch;
mod arena;
mod config;
mod decoder;
mod dequantise;
mod error;
mod export;
mod files;
mod layers;
mod loader;
mod model;
mod pace;
mod published;
mod registry;
mod weight_plan;
mod weights;

pub use arena::arena_bytes;
pub use config::{GenerationConfig, ModelConfig, MoeConfig};
pub use dequantise::{DequantiseReport, dequantise};
pub use error::ModelError;
pub use export::{
    CALIBRATION_TEXT_TOKENS, CALIBRATION_TOKENS, DirectoryOptions, ExportOptions, ExportProgress,
    ExportReport, ExportRow, GGUF_PRESETS, GgufPreset, export_directory, export_gguf,
};
pub use files::{EmbeddedModel, GgufTokenizer, ModelFiles, TokenizerSource, UnusedTensors};
pub use loader::{LoadOptions, LoadProgress, load};
pub use model::{Model, ModelInput};
pub use pace::Deadline;
pub use published::{PUBLISHED, Published, plan_of_config};
pub use registry::{Architecture, architectures};
pub use weight_plan::{ReadShare, WeightPlan, WeightPlanRow};

/// Architectures refer to these; a reader of this crate's API needs them too.
pub use eitri_kernels::{HeadShape, KvLayer, KvScales, RopeScaling, ops::SequenceSpan};
