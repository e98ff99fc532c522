//! A load client for any OpenAI-compatible server that measures as `vllm bench serve` does.
//!
//! [`dataset`] makes the prompts and [`Traffic`] the times of arrival, with [`draws`] that are
//! NumPy's and Python's; [`run()`] sends them and measures. What it leaves behind is an
//! [`outcome::BenchOutcome`]: a record per request, the metrics made of them, and the settings that
//! they were measured with. Everything that reports or compares starts there.

mod align;
mod arrivals;
pub mod cli;
mod client;
mod clock;
mod compat;
pub mod dataset;
pub mod draws;
mod error;
mod metrics;
pub mod outcome;
mod progress;
mod python_text;
mod result_block;
mod result_file;
mod run;
mod server;
mod statistics;

pub use align::{Alignment, align_prompts};
pub use arrivals::{Arrival, Traffic};
pub use client::{Api, Limits, RequestOptions};
pub use compat::Compat;
pub use error::BenchError;
pub use progress::Progress;
pub use result_file::ResultFile;
pub use run::{RunControl, RunEvent, RunOptions, run};
pub use server::{FirstModel, first_model};
