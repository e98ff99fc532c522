//! A GGUF writer, and tiny models as llama.cpp's converter would store them.

use std::collections::BTreeMap;

use super::{
    blocks::Block,
    tiny::{Shape, Tiny, Values},
};

/// Bytes of a GGUF file in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct Writer {
    pairs: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

fn string(out: &mut Vec<u8>, value: &str) {
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.as_bytes());
}

impl Writer {
    fn pair(&mut self, key: &str, kind: u32, value: &[u8]) {
        let mut pair = Vec::new();
        string(&mut pair, key);
        pair.extend(kind.to_le_bytes());
        pair.extend(value);
        self.pairs.push(pair);
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.pair(key, 4, &value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.pair(key, 6, &value.to_le_bytes());
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        string(&mut bytes, value);
        self.pair(key, 8, &bytes);
    }

    pub(crate) fn strings(&mut self, key: &str, values: &[&str]) {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        for value in values {
            string(&mut bytes, value);
        }
        self.pair(key, 9, &bytes);
    }

    /// Adds a tensor, shape outermost first.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], kind: u32, bytes: Vec<u8>) {
        self.tensors.push((name.to_owned(), shape.to_vec(), kind, bytes));
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        self.pairs.iter().for_each(|pair| out.extend(pair));
        let mut offset = 0_usize;
        for (name, shape, kind, bytes) in &self.tensors {
            string(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&size| out.extend((size as u64).to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset = (offset + bytes.len()).next_multiple_of(32);
        }
        for (.., bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }
}

/// The model as GGUF with every matrix in `block`, and the model that this file means.
pub(crate) fn model(shape: &Shape, tiny: &Tiny, block: Block) -> (Vec<u8>, Tiny) {
    mixed_model(shape, tiny, |_| block)
}

/// The same with every matrix in the type that `block` has for its name in the file.
pub(crate) fn mixed_model(
    shape: &Shape,
    tiny: &Tiny,
    block: impl Fn(&str) -> Block,
) -> (Vec<u8>, Tiny) {
    let mut writer = Writer::default();
    metadata(shape, &mut writer);
    let mut meant = tiny.clone();
    let mut experts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, values) in &tiny.tensors {
        let stored = gguf_name(name);
        let kind = if values.shape.len() == 1 || name.ends_with("mlp.gate.weight") {
            Block::F32
        } else {
            block(&stored)
        };
        let (mut bytes, data) = kind.quantise(&values.data);
        meant.tensors.insert(name.clone(), Values { data, ..values.clone() });
        if stored.ends_with("_exps.weight") {
            experts.entry(stored).or_default().extend(bytes);
            continue;
        }
        let turned = stored.contains("attn_q.") || stored.contains("attn_k.");
        if shape.architecture == "LlamaForCausalLM" && turned {
            bytes = interleave(&bytes, values.shape[0], shape.head_dim);
        }
        writer.tensor(&stored, &values.shape, kind.id(), bytes);
    }
    for (name, bytes) in experts {
        let moe = shape.moe.as_ref().unwrap();
        let (n, k) = if name.contains("down") {
            (shape.hidden, moe.intermediate)
        } else {
            (moe.intermediate, shape.hidden)
        };
        writer.tensor(&name, &[moe.count, n, k], block(&name).id(), bytes);
    }
    (writer.finish(), meant)
}

fn metadata(shape: &Shape, writer: &mut Writer) {
    let name = match shape.architecture {
        "Qwen3ForCausalLM" => "qwen3",
        "Qwen3MoeForCausalLM" => "qwen3moe",
        _ => "llama",
    };
    writer.string("general.architecture", name);
    let mut number = |key: &str, value: usize| writer.u32(&format!("{name}.{key}"), value as u32);
    number("block_count", shape.layers);
    number("context_length", 2048);
    number("embedding_length", shape.hidden);
    number("feed_forward_length", shape.intermediate);
    number("attention.head_count", shape.heads);
    number("attention.head_count_kv", shape.kv_heads);
    number("attention.key_length", shape.head_dim);
    number("attention.value_length", shape.head_dim);
    if let Some(moe) = &shape.moe {
        number("expert_count", moe.count);
        number("expert_used_count", moe.top_k);
        number("expert_feed_forward_length", moe.intermediate);
    }
    writer.f32(&format!("{name}.attention.layer_norm_rms_epsilon"), 1e-6);
    writer.f32(&format!("{name}.rope.freq_base"), 10_000.0);
    writer.string("tokenizer.ggml.model", "gpt2");
    writer.strings("tokenizer.ggml.tokens", &["a", "b"]);
    writer.u32("tokenizer.ggml.eos_token_id", 2);
}

fn gguf_name(name: &str) -> String {
    let fixed = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return fixed.to_owned();
    }
    let rest = name.strip_prefix("model.layers.").unwrap();
    let (layer, part) = rest.split_once('.').unwrap();
    let part = part.strip_suffix(".weight").unwrap();
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate" => "ffn_gate_inp",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        part if part.ends_with("gate_proj") => "ffn_gate_exps",
        part if part.ends_with("up_proj") => "ffn_up_exps",
        _ => "ffn_down_exps",
    };
    format!("blk.{layer}.{part}.weight")
}

/// Reorders the rows of each head so that dimensions `i` and `i + half` become neighbours.
fn interleave(bytes: &[u8], rows: usize, head_dim: usize) -> Vec<u8> {
    let row_bytes = bytes.len() / rows;
    let mut out = Vec::with_capacity(bytes.len());
    for head in 0..rows / head_dim {
        for i in 0..head_dim / 2 {
            for part in 0..2 {
                let row = head * head_dim + part * head_dim / 2 + i;
                out.extend(&bytes[row * row_bytes..(row + 1) * row_bytes]);
            }
        }
    }
    out
}
