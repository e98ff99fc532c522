//! A random Qwen3 of a few thousand parameters, written as a checkpoint.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use eitri_models::ModelFiles;
use eitri_runner::{MemoryPlan, Runner, RunnerConfig};

pub(crate) const VOCAB: usize = 96;
const MAX_LEN: usize = 2304;
const HIDDEN: usize = 32;
const INTERMEDIATE: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 8;
const LAYERS: usize = 2;

/// Fixed numbers that look like noise (`SplitMix64`).
struct Noise(u64);

impl Noise {
    /// Uniform in `[-1, 1)`.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn matrix(&mut self, rows: usize, columns: usize, size: f32) -> Tensor {
        let values: Vec<f32> = (0..rows * columns).map(|_| self.next() * size).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    fn norm(&mut self, n: usize) -> Tensor {
        let values: Vec<f32> = (0..n).map(|_| 1.0 + 0.2 * self.next()).collect();
        Tensor::from_vec(values, n, &Device::Cpu).unwrap()
    }
}

fn tensors() -> HashMap<String, Tensor> {
    let mut noise = Noise(1);
    let mut all = HashMap::new();
    all.insert("model.embed_tokens.weight".to_owned(), noise.matrix(VOCAB, HIDDEN, 1.0));
    all.insert("lm_head.weight".to_owned(), noise.matrix(VOCAB, HIDDEN, 0.7));
    all.insert("model.norm.weight".to_owned(), noise.norm(HIDDEN));
    for layer in 0..LAYERS {
        let matrices = [
            ("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
            ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
            ("mlp.up_proj", INTERMEDIATE, HIDDEN),
            ("mlp.down_proj", HIDDEN, INTERMEDIATE),
        ];
        for (name, rows, columns) in matrices {
            let name = format!("model.layers.{layer}.{name}.weight");
            all.insert(name, noise.matrix(rows, columns, 0.4));
        }
        let norms = [
            ("input_layernorm", HIDDEN),
            ("post_attention_layernorm", HIDDEN),
            ("self_attn.q_norm", HEAD_DIM),
            ("self_attn.k_norm", HEAD_DIM),
        ];
        for (name, n) in norms {
            all.insert(format!("model.layers.{layer}.{name}.weight"), noise.norm(n));
        }
        // For an FP8 KV cache: one for each head, and one for all.
        let keys = Tensor::new(&[0.011_f32, 0.3], &Device::Cpu).unwrap();
        let values = Tensor::new(0.007_f32, &Device::Cpu).unwrap();
        all.insert(format!("model.layers.{layer}.self_attn.k_scale"), keys);
        all.insert(format!("model.layers.{layer}.self_attn.v_scale"), values);
    }
    all.into_iter().map(|(name, t)| (name, t.to_dtype(DType::BF16).unwrap())).collect()
}

/// Writes the checkpoint into `dir`; `quantization` is JSON.
fn write(dir: &Path, quantization: &str) {
    let config = format!(
        r#"{{
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
            "hidden_size": {HIDDEN}, "intermediate_size": {INTERMEDIATE},
            "num_hidden_layers": {LAYERS}, "num_attention_heads": {HEADS},
            "num_key_value_heads": {KV_HEADS}, "head_dim": {HEAD_DIM}, "vocab_size": {VOCAB},
            "max_position_embeddings": {MAX_LEN}, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "rope_scaling": null, "tie_word_embeddings": false, "attention_bias": false,
            "hidden_act": "silu", "use_sliding_window": false, "torch_dtype": "bfloat16",
            "bos_token_id": 0, "eos_token_id": 1, "quantization_config": {quantization}
        }}"#
    );
    fs::write(dir.join("config.json"), config).unwrap();
    candle_core::safetensors::save(&tensors(), dir.join("model.safetensors")).unwrap();
}

/// The tiny model with this `quantization_config`.
pub(crate) fn files(quantization: &str) -> ModelFiles {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), quantization);
    ModelFiles::open(dir.path()).unwrap()
}

/// A runner for the tiny model.
pub(crate) fn runner(config: &RunnerConfig) -> (Runner, MemoryPlan) {
    let files = files("null");
    let plan = MemoryPlan::compute(&files, config).unwrap();
    (Runner::load(&files, config, &plan, None).unwrap(), plan)
}
