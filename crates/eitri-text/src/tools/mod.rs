//! Tool calls in the text of an answer, one file per format.

mod hermes;
mod object_scanner;

pub use hermes::ToolParser;
pub(crate) use hermes::{CLOSE, OPEN};
