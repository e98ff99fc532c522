//! Tiny random models against candle-transformers, and damaged ones against their messages.

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod parity;
mod quantised;
mod shapes;
