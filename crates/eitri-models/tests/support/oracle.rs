//! The same models in candle-transformers, f32: an independent implementation.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, qwen3, qwen3_moe};
use serde_json::Value;

use super::tiny::Tiny;

/// Logits at every position of `tokens`.
pub(crate) fn logits(model: &Tiny, tokens: &[u32]) -> Vec<Vec<f32>> {
    let tensors: HashMap<String, Tensor> = model
        .tensors
        .iter()
        .map(|(name, values)| {
            let tensor =
                Tensor::from_vec(values.data.clone(), values.shape.clone(), &Device::Cpu).unwrap();
            (name.clone(), tensor)
        })
        .collect();
    logits_of(&model.config, tensors, tokens)
}

/// The same for weights and a configuration from files.
pub(crate) fn logits_of(
    config: &Value,
    tensors: HashMap<String, Tensor>,
    tokens: &[u32],
) -> Vec<Vec<f32>> {
    let head = tensors.get("lm_head.weight").unwrap_or(&tensors["model.embed_tokens.weight"]);
    let head = head.clone();
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let input = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let hidden = match config["architectures"][0].as_str().unwrap() {
        "Qwen3ForCausalLM" => {
            let config: qwen3::Config = serde_json::from_value(config.clone()).unwrap();
            qwen3::Model::new(&config, weights).unwrap().forward(&input, 0).unwrap()
        }
        "Qwen3MoeForCausalLM" => {
            let config: qwen3_moe::Config = serde_json::from_value(config.clone()).unwrap();
            qwen3_moe::Model::new(&config, weights).unwrap().forward(&input, 0).unwrap()
        }
        _ => return llama_logits(config, weights, tokens),
    };
    let logits = hidden.squeeze(0).unwrap().matmul(&head.t().unwrap()).unwrap();
    logits.to_vec2().unwrap()
}

/// candle's Llama gives only the last position, so tokens go in one by one.
fn llama_logits(config: &Value, weights: VarBuilder<'_>, tokens: &[u32]) -> Vec<Vec<f32>> {
    let config: llama::LlamaConfig = serde_json::from_value(config.clone()).unwrap();
    let config = config.into_config(false);
    let mut cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
    let model = llama::Llama::load(weights, &config).unwrap();
    let mut logits = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        let input = Tensor::new(&[[token]], &Device::Cpu).unwrap();
        let row = model.forward(&input, position, &mut cache).unwrap();
        logits.push(row.squeeze(0).unwrap().to_vec1().unwrap());
    }
    logits
}
