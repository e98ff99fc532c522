//! Mixture of experts: routing, and products with the chosen experts only.

mod experts;
mod route;

pub use experts::{MoeBuffers, moe_experts};
pub use route::{Routing, moe_route};
