//! Every supported form of every instruction against a scalar reference written from the PTX ISA's
//! text in another style: integers are mathematical integers, floating-point values exact
//! multiples of a power of two.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::float_cmp,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::redundant_closure_for_method_calls,
    reason = "helpers of tests; results are compared exactly, and PTX is text"
)]

mod approximate;
mod atomics;
mod bits;
mod compare;
mod convert;
mod exact;
mod exchange;
mod float;
mod harness;
mod integer;
mod listed;
mod matrix;
mod memory;

#[path = "../support/mod.rs"]
mod support;
