//! Random models of a few thousand parameters, as Hugging Face would store them.

use std::{collections::BTreeMap, path::Path};

use half::{bf16, f16};
use rand::{Rng, SeedableRng, rngs::StdRng};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

/// Shape and f32 values, outermost dimension first.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// A model: `config.json` and tensors by Hugging Face name.
#[derive(Debug, Clone)]
pub(crate) struct Tiny {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Values>,
}

/// What a tiny model looks like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) architecture: &'static str,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) intermediate: usize,
    pub(crate) vocab: usize,
    pub(crate) tied: bool,
    pub(crate) moe: Option<Experts>,
}

/// The sparse layers of a tiny model.
#[derive(Debug, Clone)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    pub(crate) top_k: usize,
    pub(crate) intermediate: usize,
    pub(crate) norm_topk_prob: bool,
    pub(crate) decoder_sparse_step: usize,
    pub(crate) mlp_only_layers: Vec<usize>,
}

impl Experts {
    pub(crate) fn is_sparse(&self, layer: usize) -> bool {
        (layer + 1).is_multiple_of(self.decoder_sparse_step)
            && !self.mlp_only_layers.contains(&layer)
    }
}

impl Shape {
    /// Two layers of Qwen3, small enough for thousands of tokens per second anywhere.
    pub(crate) fn qwen3() -> Self {
        Self {
            architecture: "Qwen3ForCausalLM",
            hidden: 64,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            intermediate: 96,
            vocab: 256,
            tied: true,
            moe: None,
        }
    }

    pub(crate) fn qwen3_moe(norm_topk_prob: bool) -> Self {
        let moe = Experts {
            count: 6,
            top_k: 2,
            intermediate: 32,
            norm_topk_prob,
            decoder_sparse_step: 1,
            mlp_only_layers: Vec::new(),
        };
        Self { architecture: "Qwen3MoeForCausalLM", tied: false, moe: Some(moe), ..Self::qwen3() }
    }

    pub(crate) fn llama() -> Self {
        Self { architecture: "LlamaForCausalLM", ..Self::qwen3() }
    }

    /// `config.json`.
    pub(crate) fn config(&self) -> Value {
        let mut config = json!({
            "architectures": [self.architecture],
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocab,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "rope_scaling": null,
            "tie_word_embeddings": self.tied,
            "hidden_act": "silu",
            "attention_bias": false,
            "use_sliding_window": false,
            "sliding_window": null,
            "max_window_layers": self.layers,
            "torch_dtype": "float32",
            "bos_token_id": 1,
            "eos_token_id": [2, 3],
        });
        if let Some(moe) = &self.moe {
            config["num_experts"] = json!(moe.count);
            config["num_experts_per_tok"] = json!(moe.top_k);
            config["moe_intermediate_size"] = json!(moe.intermediate);
            config["norm_topk_prob"] = json!(moe.norm_topk_prob);
            config["decoder_sparse_step"] = json!(moe.decoder_sparse_step);
            config["mlp_only_layers"] = json!(moe.mlp_only_layers);
        }
        config
    }

    /// Random weights: matrices keep the variance of their input, norms are near one.
    pub(crate) fn build(&self, seed: u64) -> Tiny {
        let mut maker = Maker { rng: StdRng::seed_from_u64(seed), tensors: BTreeMap::new() };
        maker.matrix("model.embed_tokens.weight", self.vocab, self.hidden);
        maker.norm("model.norm.weight", self.hidden);
        if !self.tied {
            maker.matrix("lm_head.weight", self.vocab, self.hidden);
        }
        for layer in 0..self.layers {
            self.layer(layer, &mut maker);
        }
        Tiny { config: self.config(), tensors: maker.tensors }
    }

    fn layer(&self, layer: usize, maker: &mut Maker) {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let (heads, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        maker.norm(&name("input_layernorm"), self.hidden);
        maker.norm(&name("post_attention_layernorm"), self.hidden);
        maker.matrix(&name("self_attn.q_proj"), heads, self.hidden);
        maker.matrix(&name("self_attn.k_proj"), kv, self.hidden);
        maker.matrix(&name("self_attn.v_proj"), kv, self.hidden);
        maker.matrix(&name("self_attn.o_proj"), self.hidden, heads);
        if self.architecture.starts_with("Qwen3") {
            maker.norm(&name("self_attn.q_norm"), self.head_dim);
            maker.norm(&name("self_attn.k_norm"), self.head_dim);
        }
        let mut mlp = |prefix: &str, width| {
            maker.matrix(&name(&format!("{prefix}.gate_proj")), width, self.hidden);
            maker.matrix(&name(&format!("{prefix}.up_proj")), width, self.hidden);
            maker.matrix(&name(&format!("{prefix}.down_proj")), self.hidden, width);
        };
        match &self.moe {
            Some(moe) if moe.is_sparse(layer) => {
                for expert in 0..moe.count {
                    mlp(&format!("mlp.experts.{expert}"), moe.intermediate);
                }
                maker.matrix(&name("mlp.gate"), moe.count, self.hidden);
            }
            _ => mlp("mlp", self.intermediate),
        }
    }
}

struct Maker {
    rng: StdRng,
    tensors: BTreeMap<String, Values>,
}

impl Maker {
    fn fill(&mut self, name: &str, shape: Vec<usize>, centre: f32, spread: f32) {
        let count = shape.iter().product();
        let data = (0..count).map(|_| centre + self.rng.random_range(-spread..spread)).collect();
        self.tensors.insert(name.to_owned(), Values { shape, data });
    }

    fn matrix(&mut self, name: &str, n: usize, k: usize) {
        self.fill(name, vec![n, k], 0.0, (3.0 / k as f32).sqrt());
    }

    fn norm(&mut self, name: &str, len: usize) {
        self.fill(name, vec![len], 1.0, 0.2);
    }
}

/// Width in which tensors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    F32,
    F16,
    Bf16,
}

impl Width {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        }
    }

    pub(crate) fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }
}

impl Tiny {
    /// The values that a checkpoint of this width holds.
    #[must_use]
    pub(crate) fn rounded(&self, width: Width) -> Self {
        let mut rounded = self.clone();
        for values in rounded.tensors.values_mut() {
            values.data.iter_mut().for_each(|value| *value = width.round(*value));
        }
        rounded
    }

    /// One safetensors file.
    pub(crate) fn safetensors(&self, width: Width) -> Vec<u8> {
        serialize(self.tensors.iter(), width)
    }

    /// Writes `config.json` and `model.safetensors`.
    pub(crate) fn write(&self, directory: &Path, width: Width) {
        self.write_config(directory);
        std::fs::write(directory.join("model.safetensors"), self.safetensors(width)).unwrap();
    }

    /// Writes `config.json`, an index and `shards` files.
    pub(crate) fn write_sharded(&self, directory: &Path, width: Width, shards: usize) {
        self.write_config(directory);
        let mut map = serde_json::Map::new();
        for shard in 0..shards {
            let file = format!("model-{:05}-of-{shards:05}.safetensors", shard + 1);
            let part = || self.tensors.iter().skip(shard).step_by(shards);
            std::fs::write(directory.join(&file), serialize(part(), width)).unwrap();
            map.extend(part().map(|(name, _)| (name.clone(), json!(file))));
        }
        let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
        std::fs::write(directory.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }

    pub(crate) fn write_config(&self, directory: &Path) {
        std::fs::write(directory.join("config.json"), self.config.to_string()).unwrap();
    }
}

fn serialize<'a>(tensors: impl Iterator<Item = (&'a String, &'a Values)>, width: Width) -> Vec<u8> {
    let tensors: Vec<(&String, Vec<usize>, Vec<u8>)> = tensors
        .map(|(name, values)| (name, values.shape.clone(), width.bytes(&values.data)))
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(width.dtype(), shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}
