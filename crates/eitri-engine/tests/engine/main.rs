//! The engine driven through its public interface, with the simulated executor as the judge.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and what it prints is seen only then"
)]

mod continuations;
mod max_step;
mod scenarios;
mod schedules;
mod threaded;
mod world;
