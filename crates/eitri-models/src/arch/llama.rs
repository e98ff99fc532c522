//! Llama 2 and 3 and their descendants, such as `SmolLM2`.

use crate::{
    Architecture, ModelError,
    decoder::Block,
    layers::{Attention, FeedForward, Mlp},
    loader::Loader,
    weights::Slot,
};

pub(crate) static LLAMA: Architecture = Architecture {
    name: "LlamaForCausalLM",
    gguf: "llama",
    qk_norm: false,
    experts: false,
    gguf_interleaved: true,
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
