//! What the tensors of a layer are called.

/// A tensor's place in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Embedding,
    OutputNorm,
    Output,
    AttentionNorm,
    Query,
    Key,
    Value,
    /// Query, key and value rows in one tensor.
    FusedQkv,
    AttentionOutput,
    QueryNorm,
    KeyNorm,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
    Router,
    /// All experts in one tensor.
    ExpertGate,
    ExpertUp,
    /// Gate and up rows of all experts in one tensor.
    ExpertGateUp,
    ExpertDown,
}

/// The two naming schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Hugging Face transformers.
    HuggingFace,
    /// GGUF.
    Gguf,
}

impl Naming {
    /// The module in `slot` of `layer`; its tensor is called `{module}.weight`.
    pub(crate) fn module(self, slot: Slot, layer: usize) -> String {
        match self {
            Self::HuggingFace => hugging_face(slot, layer),
            Self::Gguf => gguf(slot, layer),
        }
    }

    /// The matrix in `slot` of one expert, where experts are stored apart.
    pub(crate) fn expert(self, slot: Slot, layer: usize, expert: usize) -> String {
        match self {
            Self::HuggingFace => {
                let matrix = match slot {
                    Slot::ExpertUp => "up_proj",
                    Slot::ExpertDown => "down_proj",
                    _ => "gate_proj",
                };
                format!("model.layers.{layer}.mlp.experts.{expert}.{matrix}")
            }
            Self::Gguf => format!("{}.{expert}", gguf(slot, layer).replace("_exps", "")),
        }
    }
}

fn hugging_face(slot: Slot, layer: usize) -> String {
    let name = match slot {
        Slot::Embedding => return "model.embed_tokens".to_owned(),
        Slot::OutputNorm => return "model.norm".to_owned(),
        Slot::Output => return "lm_head".to_owned(),
        Slot::AttentionNorm => "input_layernorm",
        Slot::Query => "self_attn.q_proj",
        Slot::Key => "self_attn.k_proj",
        Slot::Value => "self_attn.v_proj",
        Slot::FusedQkv => "self_attn.qkv_proj",
        Slot::AttentionOutput => "self_attn.o_proj",
        Slot::QueryNorm => "self_attn.q_norm",
        Slot::KeyNorm => "self_attn.k_norm",
        Slot::FeedForwardNorm => "post_attention_layernorm",
        Slot::Gate => "mlp.gate_proj",
        Slot::Up => "mlp.up_proj",
        Slot::Down => "mlp.down_proj",
        Slot::Router => "mlp.gate",
        Slot::ExpertGate => "mlp.experts.gate_proj",
        Slot::ExpertUp => "mlp.experts.up_proj",
        Slot::ExpertGateUp => "mlp.experts.gate_up_proj",
        Slot::ExpertDown => "mlp.experts.down_proj",
    };
    format!("model.layers.{layer}.{name}")
}

fn gguf(slot: Slot, layer: usize) -> String {
    let name = match slot {
        Slot::Embedding => return "token_embd".to_owned(),
        Slot::OutputNorm => return "output_norm".to_owned(),
        Slot::Output => return "output".to_owned(),
        Slot::AttentionNorm => "attn_norm",
        Slot::Query => "attn_q",
        Slot::Key => "attn_k",
        Slot::Value => "attn_v",
        Slot::FusedQkv => "attn_qkv",
        Slot::AttentionOutput => "attn_output",
        Slot::QueryNorm => "attn_q_norm",
        Slot::KeyNorm => "attn_k_norm",
        Slot::FeedForwardNorm => "ffn_norm",
        Slot::Gate => "ffn_gate",
        Slot::Up => "ffn_up",
        Slot::Down => "ffn_down",
        Slot::Router => "ffn_gate_inp",
        Slot::ExpertGate => "ffn_gate_exps",
        Slot::ExpertUp => "ffn_up_exps",
        Slot::ExpertGateUp => "ffn_gate_up_exps",
        Slot::ExpertDown => "ffn_down_exps",
    };
    format!("blk.{layer}.{name}")
}
