//! Every supported form of every instruction against a scalar reference written from the PTX ISA's
//! text in another style: integers are mathematical integers, floating-point values exact
//! multiples of a power of two.

mod bits;
mod convert;
mod exchange;
mod float;
mod harness;
mod integer;
mod matrix;
mod memory;
