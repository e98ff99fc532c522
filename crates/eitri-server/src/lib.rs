//! The HTTP server: an OpenAI-compatible front of an engine.
//!
//! A request's way: [`router`] finds the route, `extract` reads the body, `prompt` makes token ids
//! of it, `sampling` the engine's parameters, `generate` submits it and turns the engine's events
//! into pieces of text, and the route writes these as one body or, through `sse`, as a stream.
//! Nothing here touches a model.
//!
//! A client that goes away takes its request with it: axum drops the handler or the body, and with
//! it the engine's stream.

mod auth;
mod error;
mod extract;
mod generate;
mod logprobs;
mod metrics;
mod prompt;
mod router;
mod routes;
mod sampling;
mod serve;
mod sse;
mod state;
mod tools;
mod unsupported;

pub use error::ApiError;
pub use router::router;
pub use serve::serve;
pub use state::{AppState, GenerationDefaults, ServedModel, ServerConfig};
