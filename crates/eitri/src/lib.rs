//! Eitri as a library: a language model inside another program.
//!
//! ```no_run
//! use eitri::{Engine, GenerationOptions, Prompt};
//!
//! # fn main() -> Result<(), eitri::Error> {
//! let engine = Engine::builder().model("path/to/model").threads(2).build()?;
//! for piece in engine.generate_blocking(Prompt::text("Once upon a time"), GenerationOptions::default())? {
//!     print!("{}", piece?.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The bundled model calls functions:
//!
//! ```no_run
//! use eitri::{Engine, GenerationOptions, Message, Prompt, robot_tools};
//!
//! # fn main() -> Result<(), eitri::Error> {
//! let engine = Engine::builder().build()?;
//! let prompt = Prompt::chat_with_tools([Message::user("Pick up the red cup.")], robot_tools());
//! let answer = engine.generate_blocking(prompt, GenerationOptions::greedy())?.answer()?;
//! for call in answer.tool_calls {
//!     println!("{call}"); // pick(object: "red cup")
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same in async code, on any executor, with a conversation:
//!
//! ```no_run
//! use eitri::{Engine, GenerationOptions, Message, Prompt};
//!
//! # async fn example() -> Result<(), eitri::Error> {
//! let engine = Engine::builder().model("path/to/model").build_async().await?;
//! let prompt = Prompt::chat([Message::user("What is the capital of Italy?")]);
//! let options = GenerationOptions { max_tokens: Some(64), ..GenerationOptions::default() };
//! let mut answer = engine.generate(prompt, options)?;
//! while let Some(piece) = answer.next().await {
//!     print!("{}", piece?.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! There is no global state: several engines run side by side in one process, each with its own
//! threads and memory, and everything ends when the [`Engine`] is dropped. Many generations may run
//! on one engine at once; they are batched.

mod affinity;
mod answer;
mod builder;
mod bundled;
mod calibration;
mod defaults;
mod dequantise;
mod engine;
mod error;
mod generation;
mod hub;
mod info;
mod options;
mod prompt;
mod quantize;
mod resolve;

pub use affinity::pin_current_thread;
pub use answer::{Answer, ToolCall};
pub use builder::{DEFAULT_MAX_STEP, EngineBuilder, PlannedEngine};
pub use bundled::{ROBOT, ROBOT_MOE, robot_tools};
pub use defaults::{GenerationSource, SamplingDefaults};
pub use dequantise::{PlainType, dequantise};
pub use engine::Engine;
pub use error::Error;
pub use generation::{BlockingGeneration, Completion, Finish, FinishReason, Generation, Piece};
pub use hub::{DownloadProgress, HubError};
pub use info::ModelInfo;
pub use options::GenerationOptions;
pub use prompt::{Message, Prompt, Role};
pub use quantize::{QuantizeFormat, QuantizeOptions, QuantizeReport, quantize};
pub use resolve::fetch;

pub use eitri_engine::{
    EngineHandle, EngineStats, GeneratedToken, SchedulingPolicy, TokenId, TokenLogprobs, TokenUsage,
};
pub use eitri_kernels::{Activations, ProbeReport};
pub use eitri_models::{
    DequantiseReport, ExportProgress, ExportReport, ExportRow, GGUF_PRESETS, GgufPreset,
    LoadProgress, ModelConfig, MoeConfig, PUBLISHED, Published, ReadShare, UnusedTensors,
    WeightPlan, WeightPlanRow,
};
pub use eitri_quant::{
    ScaleGroup, WriteProgress,
    scheme::{Calibration, SCHEMES, Scheme},
};
pub use eitri_runner::{KvDtype, LoadReport, MemoryPlan};
pub use eitri_text::{AnswerDelta, AnswerFormat, AnswerParser, ChatTemplate, Tokenizer};
