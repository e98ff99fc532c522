//! Operations on tensors: CPU SIMD kernels, each beside a plain f32 reference.
//!
//! The crate knows layouts of weights and of KV memory, but neither checkpoints nor models. Every
//! operation is one function in [`ops`] that works on preallocated tensors and allocates nothing.
//!
//! **Batch invariance.** The value of an output row depends only on its own inputs: the order of
//! additions never depends on how many rows are computed together, on the number of threads, or on
//! how a prompt was cut into chunks. The engine's promise of equal answers in any batch rests on it.

mod context;
mod disjoint;
mod error;
mod kv;
mod lanes;
mod matmul;
mod pool;
mod probe;
mod rope;
mod storage;
mod weight;

pub mod measure;
pub mod ops;
pub mod reference;

pub use context::{Activations, Context, ContextConfig, Isa, Scratch};
pub use error::KernelError;
pub use kv::{HeadShape, KV_BLOCK, KvLayer, KvScales};
pub use pool::{ThreadPool, ThreadStart};
pub use probe::{ProbeReport, probe};
pub use rope::{RopeScaling, RopeTable};
pub use storage::{Element, read, write};
pub use weight::{
    Codes, GroupSize, Grouped, RowSource, ScaleType, Weight, WeightFormat, minifloat,
};
