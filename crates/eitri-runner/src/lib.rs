//! Executes step plans on a device: batch arrays, paged KV memory, memory plan, sampling.
//!
//! The runner decides nothing: which sequences run, and in which blocks their keys and values lie,
//! is the engine's choice. It turns a [`eitri_engine::StepPlan`] into calls of the model.
//!
//! [`MemoryPlan::compute`] says where memory will go before anything is loaded, [`Runner::load`]
//! allocates it, and after that a decoding step allocates nothing.

mod available_memory;
mod batch;
mod config;
mod error;
mod kv_memory;
mod memory_plan;
mod runner;
mod sampler;
mod sequences;
mod warm_up;

pub use config::RunnerConfig;
pub use error::{RunnerError, Shortage};
pub use kv_memory::KvDtype;
pub use memory_plan::{DEFAULT_KV_TOKENS, MemoryPlan};
pub use runner::{LoadReport, Runner, StepTimes};
