//! What the commands do.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod inspect;
pub(crate) mod quantize;
pub(crate) mod serve;
mod stats_log;
