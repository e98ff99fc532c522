//! Row operations, rotations and attention: against references, and bit for bit against themselves.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fp8;
mod invariance;
mod reference;
mod rope;
mod rows;
mod world;
