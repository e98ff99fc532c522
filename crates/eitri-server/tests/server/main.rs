//! The server with a simulated engine and a tokenizer whose ids are bytes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod chat;
mod completions;
mod errors;
mod lifecycle;
mod logprobs;
mod routes;
mod stream;
mod support;
mod tools;
