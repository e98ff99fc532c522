//! Feeds damaged files to the readers: `cargo bench -p eitri-quant --bench fuzz_readers -- 1000000`.
//! It stops with a panic at the first input that makes a reader panic, and prints how it went.

#[path = "../tests/mutate/mod.rs"]
mod mutate;

use std::time::Instant;

use rand::{SeedableRng, rngs::StdRng};

/// Inputs per reader when no count is given.
const DEFAULT_COUNT: u64 = 100_000;
const SEED: u64 = 1;

#[allow(clippy::print_stdout, reason = "a program whose output is its result")]
fn main() {
    let count = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(DEFAULT_COUNT);
    for reader in mutate::readers() {
        let mut rng = StdRng::seed_from_u64(SEED);
        let start = Instant::now();
        let accepted = (0..count).filter(|_| reader.feed(&mut rng)).count();
        println!(
            "{}: {count} damaged inputs, {accepted} still valid, no panic, {:.1} s",
            reader.name,
            start.elapsed().as_secs_f64()
        );
    }
}
