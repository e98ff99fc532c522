//! Qwen3-MoE: Qwen3 whose layers, all or some, choose a few of many small feed-forward networks.

use crate::{
    Architecture, ModelError,
    decoder::Block,
    layers::{Attention, FeedForward, Mlp, Moe},
    loader::Loader,
    weights::Slot,
};

pub(crate) static QWEN3_MOE: Architecture = Architecture {
    name: "Qwen3MoeForCausalLM",
    gguf: "qwen3moe",
    qk_norm: true,
    experts: true,
    gguf_interleaved: false,
    block,
};

fn block(loader: &Loader<'_>, layer: usize) -> Result<Block, ModelError> {
    let feed_forward = match &loader.config().moe {
        Some(moe) if moe.is_sparse(layer) => FeedForward::Sparse(Moe::load(loader, layer, moe)?),
        _ => FeedForward::Dense(Mlp::load(loader, layer)?),
    };
    Ok(Block {
        attention_norm: loader.norm(Slot::AttentionNorm, layer)?,
        attention: Attention::load(loader, layer)?,
        feed_forward_norm: loader.norm(Slot::FeedForwardNorm, layer)?,
        feed_forward,
    })
}
