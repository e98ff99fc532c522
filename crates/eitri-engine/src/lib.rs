//! Decides which tokens run next: sequences, KV blocks, prefix cache, scheduler, engine loop.
//!
//! The engine knows token ids and block ids. It never sees text, tensors or IO; whatever computes a
//! step stands behind [`Executor`].

mod block_pool;
mod config;
mod core;
mod engine;
mod executor;
mod handle;
mod intake;
mod kv;
mod params;
mod plan;
mod prefix;
mod request;
mod scheduler;
mod sequence;
mod sim;
mod stats;
mod stream;

pub use config::{EngineConfig, EngineError, SchedulingPolicy};
pub use core::{Clock, EngineCore};
pub use engine::Engine;
pub use executor::{Executor, ExecutorError};
pub use handle::EngineHandle;
pub use intake::SubmitError;
pub use params::{ParamError, SamplingParams};
pub use plan::{
    Admission, BlockCopy, BlockId, PromptLogprobs, RowFailure, Sampled, ScheduledRow, SequenceId,
    StepLimit, StepOutput, StepPlan, TokenLogprobs,
};
pub use request::{FinishReason, GeneratedToken, Request, RequestTiming, TokenEvent, TokenUsage};
pub use sim::SimExecutor;
pub use stats::{EngineStats, FinishedCounts};
pub use stream::TokenStream;

/// Index into the model's vocabulary.
pub type TokenId = u32;
