//! One file per architecture.

pub(crate) mod llama;
pub(crate) mod qwen3;
pub(crate) mod qwen3_moe;
