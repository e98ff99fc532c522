//! Qwen3 dense: grouped-query attention with a norm over each query and key head, `SiLU` gate.

use crate::{
    Architecture, ModelError,
    decoder::Block,
    layers::{Attention, FeedForward, Mlp},
    loader::Loader,
    weights::Slot,
};

pub(crate) static QWEN3: Architecture = Architecture {
    name: "Qwen3ForCausalLM",
    gguf: "qwen3",
    qk_norm: true,
    experts: false,
    gguf_interleaved: false,
    block,
};

fn block(loader: &Loader<'_>, layer: usize) -> Result<Block, ModelError> {
    Ok(Block {
        attention_norm: loader.norm(Slot::AttentionNorm, layer)?,
        attention: Attention::load(loader, layer)?,
        feed_forward_norm: loader.norm(Slot::FeedForwardNorm, layer)?,
        feed_forward: FeedForward::Dense(Mlp::load(loader, layer)?),
    })
}
