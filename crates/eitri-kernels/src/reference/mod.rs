//! Plain implementations that say what a kernel must compute, for tests and start-up probes only.

mod attention;
mod e4m3;
mod matrix;
mod rows;

pub use attention::attention;
pub use e4m3::nearest_e4m3;
pub use matrix::{CanonicalRows, Random, relative_difference};
pub use rows::{rms_norm, rope, silu_mul};
