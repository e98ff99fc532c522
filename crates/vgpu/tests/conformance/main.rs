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
    clippy::result_large_err,
    clippy::needless_pass_by_value,
    reason = "helpers of tests; results are compared exactly, and PTX is text"
)]

mod approximate;
mod atomics;
mod bits;
mod compare;
mod control;
mod convert;
mod copies;
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

#[test]
fn every_instruction_has_its_test() {
    use std::collections::BTreeSet;
    let tested: BTreeSet<&str> = [
        approximate::NAMES,
        atomics::NAMES,
        bits::NAMES,
        compare::NAMES,
        control::NAMES,
        convert::NAMES,
        copies::NAMES,
        exchange::NAMES,
        float::NAMES,
        integer::CARRIES,
        integer::NAMES,
        matrix::NAMES,
        memory::NAMES,
    ]
    .concat()
    .into_iter()
    .collect();
    let forms = vgpu::forms();
    let listed: BTreeSet<&str> = forms.iter().filter_map(|form| form.split('.').next()).collect();
    assert_eq!(listed, tested);
    println!("{} forms of {} instructions", forms.len(), listed.len());
}
