//! The generators draw what NumPy and Python draw.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

use std::{path::Path, process::Command};

use eitri_bench::draws::{Generator, PythonRandom, RandomState};
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/draws.json");

fn numbers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

fn check(golden: &Value) {
    let ranges: Vec<Vec<i64>> = golden["ranges"].as_array().unwrap().iter().map(numbers).collect();
    for case in golden["seeds"].as_array().unwrap() {
        let seed = case["seed"].as_u64().unwrap() as u32;
        check_legacy(seed, &ranges, &case["legacy"]);
        let mut generator = Generator::new(seed);
        for (range, expected) in
            ranges.iter().zip(case["generator"]["integers"].as_array().unwrap())
        {
            let drawn = generator.integers(range[0], range[1], 9);
            assert_eq!(drawn, numbers(expected), "default_rng({seed}).integers({range:?})");
        }
        check_python(seed, &case["python"]);
    }
}

fn check_legacy(seed: u32, ranges: &[Vec<i64>], case: &Value) {
    let mut state = RandomState::new(seed);
    for (range, expected) in ranges.iter().zip(case["integers"].as_array().unwrap()) {
        let drawn = state.integers(range[0], range[1], 9);
        assert_eq!(drawn, numbers(expected), "seed {seed}: randint({range:?})");
    }
    let shapes = [1.0, 0.3, 2.5, 1.0, 0.9, 1.0001].into_iter().flat_map(|shape| [shape; 7]);
    for (shape, expected) in shapes.zip(case["gamma"].as_array().unwrap()) {
        let (drawn, expected) = (state.gamma(shape, 0.25), expected.as_f64().unwrap());
        // Logarithms and powers are the mathematics library's, whose last bit may differ.
        let close = (drawn - expected).abs() <= 4.0 * f64::EPSILON * expected.abs();
        assert!(close, "seed {seed}: gamma({shape}) is {drawn:e}, NumPy draws {expected:e}");
    }
    let order: Vec<i64> = state.permutation(23).into_iter().map(i64::from).collect();
    assert_eq!(order, numbers(&case["permutation"]), "seed {seed}: permutation");
    assert_eq!(state.integers(0, 1000, 3), numbers(&case["after"]), "seed {seed}: after all");
}

fn check_python(seed: u32, case: &Value) {
    let mut random = PythonRandom::new(seed.into());
    let mut items: Vec<i64> = (0..29).collect();
    random.shuffle(&mut items);
    assert_eq!(items, numbers(&case["shuffled"]), "seed {seed}: shuffle");
    let chosen: Vec<i64> = random.choices(1000, 12).into_iter().map(|at| at as i64).collect();
    assert_eq!(chosen, numbers(&case["chosen"]), "seed {seed}: choices");
    let again = [1, 2, 7, 1000, 1 << 31].map(|count| i64::from(random.below(count)));
    assert_eq!(again.to_vec(), numbers(&case["again"]), "seed {seed}: randrange");
}

#[test]
fn draws_are_those_of_numpy_and_python() {
    check(&serde_json::from_str(GOLDEN).unwrap());
}

/// The same against the NumPy that is installed, where one is.
#[test]
fn draws_are_those_of_the_installed_numpy() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = crate_dir.join("../../local/python/bin/python");
    if !python.is_file() {
        println!("skipped: install Python's packages with `cargo xtask python`");
        return;
    }
    let output =
        Command::new(python).arg(crate_dir.join("tests/golden/make_draws.py")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    check(&serde_json::from_slice(&output.stdout).unwrap());
}
