//! Tiny checkpoints with random weights, made in the test, and ways to run them.

pub(crate) mod blocks;
pub(crate) mod gguf;
pub(crate) mod harness;
mod k_blocks;
pub(crate) mod oracle;
pub(crate) mod packed;
pub(crate) mod plain;
pub(crate) mod tiny;
