//! End-to-end tests: the real binary, a real model, real clients.

mod bad_input;
mod bench;
mod bench_reports;
mod clients;
mod command_line;
mod dequantize;
mod ggml_blocks;
mod inspect;
mod llama_cpp;
mod python_sdk;
mod quantize;
mod robot;
