//! The command line of `eitri bench serve`: vLLM's flags, and what they come to.
//!
//! It is here and not with the other commands so that the tests can put vLLM's own command lines
//! through it.

mod args;
mod data_args;
mod names;
mod plan;
mod refused;

pub use args::ServeArgs;
pub use data_args::{DataArgs, DatasetName};
pub use names::Backend;
pub use plan::{Plan, Prepared};
pub use refused::RefusedArgs;
