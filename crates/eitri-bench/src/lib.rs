//! A load client for any OpenAI-compatible server that measures as `vllm bench serve` does.
//!
//! [`outcome`] is what a run leaves behind: a record per request, the metrics made of them, and the
//! settings that they were measured with. Everything that reports, compares or draws starts there.

pub mod compare;
mod compat;
pub mod outcome;
pub mod report;
pub mod reproduce;

pub use compat::Compat;
