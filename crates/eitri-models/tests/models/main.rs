//! Tiny random models against candle-transformers, and damaged ones against their messages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and equal sums must be equal bit by bit"
)]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod dequantise;
mod directories;
mod export;
mod fp8_kv_cache;
mod packed;
mod packed_damage;
mod parity;
mod published;
mod quantised;
mod robot;
mod rows;
mod shapes;
mod unused;
