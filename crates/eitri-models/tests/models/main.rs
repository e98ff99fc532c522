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
mod directories;
mod export;
mod packed;
mod packed_damage;
mod parity;
mod quantised;
mod robot;
mod shapes;
