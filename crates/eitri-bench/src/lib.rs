//! A load client for any OpenAI-compatible server that measures as `vllm bench serve` does.
//!
//! [`dataset`] makes the prompts and [`Traffic`] the times of arrival, with [`draws`] that are
//! NumPy's and Python's; [`run()`] sends them and measures. What it leaves behind is an
//! [`outcome::BenchOutcome`]: a record per request, the metrics made of them, and the settings that
//! they were measured with. From there [`report`] says how far it can be trusted, [`compare`] sets runs
//! beside each other, and [`reproduce`] measures published tables again.

mod align;
mod arrivals;
pub mod cli;
mod client;
mod clock;
pub mod compare;
mod compat;
pub mod dataset;
pub mod draws;
mod error;
mod metrics;
pub mod outcome;
mod progress;
mod python_text;
pub mod report;
pub mod reproduce;
mod result_block;
mod result_file;
mod run;
mod server;
mod statistics;

pub use align::{Alignment, align_prompts};
pub use arrivals::{Arrival, Traffic};
pub use client::{Api, Certificates, Limits, RequestOptions};
pub use compat::Compat;
pub use error::BenchError;
pub use progress::Progress;
pub use result_file::ResultFile;
pub use run::{RunControl, RunEvent, RunOptions, run};
pub use server::{FirstModel, ServerAddress, first_model};
pub use statistics::percentile;
