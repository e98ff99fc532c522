//! The operations, one file per family.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod embed;
pub(crate) mod linear;
pub(crate) mod moe;
pub(crate) mod norm;
mod operand;
pub(crate) mod rope;

pub use activation::silu_mul;
pub use attention::{SequenceSpan, attention, attention_kernel_name};
pub use embed::embed;
pub use linear::{kernel_name, linear, linear_rows};
pub use moe::{MoeBuffers, Routing, moe_experts, moe_route};
pub use norm::{add, add_rms_norm, rms_norm};
pub use rope::{QkvPrep, prepare_qkv};
