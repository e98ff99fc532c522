//! Row operations, rotations and attention: against references, and bit for bit against themselves.

mod invariance;
mod reference;
mod rope;
mod rows;
mod world;
