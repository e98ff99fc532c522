//! Scales of an FP8 KV cache that a checkpoint brings.

use eitri_kernels::KvScales;
use eitri_quant::Checkpoint;

use super::{Naming, Source, Weights};
use crate::ModelError;

/// Names within a layer, of keys and of values. In turn: compressed-tensors, `ModelOpt`, modules with
/// fused projections, what vLLM calls them itself, the `output_scale` of early compressed-tensors
/// checkpoints, and the one scale for both of early vLLM. All as vLLM reads them.
const NAMES: [[&str; 2]; 6] = [
    ["k_scale", "v_scale"],
    ["k_proj.k_scale", "v_proj.v_scale"],
    ["qkv_proj.k_scale", "qkv_proj.v_scale"],
    ["attn.k_scale", "attn.v_scale"],
    ["k_proj.output_scale", "v_proj.output_scale"],
    ["kv_scale", "kv_scale"],
];

impl Weights<'_> {
    /// One entry for each layer, or none at all if no layer has scales. A scale that is missing is 1.
    pub(crate) fn kv_scales(&self) -> Result<Vec<KvScales>, ModelError> {
        let Source::Checkpoint(checkpoint) = self.source else { return Ok(Vec::new()) };
        let mut found = false;
        let mut layers = Vec::with_capacity(self.config.layers);
        for layer in 0..self.config.layers {
            let mut scales = KvScales::ones(self.config.kv_heads);
            let [keys, values] = [0, 1].map(|part| self.kv_scale(checkpoint, layer, part));
            found |= keys.is_some() || values.is_some();
            for (name, into) in [(keys, &mut scales.keys), (values, &mut scales.values)] {
                if let Some(name) = name {
                    *into = checkpoint.scales(&name, self.config.kv_heads)?;
                }
            }
            layers.push(scales);
        }
        Ok(if found { layers } else { Vec::new() })
    }

    /// Name of the tensor with the scales of keys (0) or values (1).
    fn kv_scale(&self, checkpoint: &Checkpoint, layer: usize, part: usize) -> Option<String> {
        if self.naming == Naming::Gguf {
            return None;
        }
        let name = |names: [&str; 2]| format!("model.layers.{layer}.self_attn.{}", names[part]);
        NAMES.into_iter().map(name).find(|name| checkpoint.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::{Dtype, tensor::TensorView};
    use serde_json::json;

    use super::*;
    use crate::config;

    /// Nothing is left to be reported as unknown, and a layer without scales has those of 1.
    #[test]
    fn every_scale_is_used_and_missing_ones_are_1() {
        let config = json!({
            "architectures": ["Qwen3ForCausalLM"], "hidden_size": 32, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "intermediate_size": 32, "vocab_size": 8, "max_position_embeddings": 64,
        });
        let config = config::from_json("config.json", config.as_object().unwrap()).unwrap();
        let bytes: Vec<u8> = [0.5_f32, 0.25].iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let both = TensorView::new(Dtype::F32, vec![2], &bytes).unwrap();
        let one = TensorView::new(Dtype::F32, vec![], &bytes[..4]).unwrap();
        let file = safetensors::serialize(
            [
                ("model.layers.0.self_attn.k_scale", &both),
                ("model.layers.0.self_attn.v_scale", &one),
                ("model.layers.2.self_attn.kv_scale", &one),
            ],
            None,
        );
        let checkpoint =
            |file: Vec<u8>| Checkpoint::from_safetensors("model.safetensors", file.leak()).unwrap();
        let full = checkpoint(file.unwrap());
        let source = Source::Checkpoint(&full);
        let weights = Weights { source, config: &config, naming: Naming::HuggingFace };
        let scales = weights.kv_scales().unwrap();
        let of = |keys, values| KvScales { keys, values };
        let expected =
            [of(vec![0.5, 0.25], vec![0.5; 2]), KvScales::ones(2), of(vec![0.5; 2], vec![0.5; 2])];
        assert_eq!(scales, expected);
        assert_eq!(full.unused(), Vec::<&str>::new());
        let file = safetensors::serialize([("model.norm.weight", &both)], None);
        let empty = checkpoint(file.unwrap());
        let source = Source::Checkpoint(&empty);
        assert_eq!(Weights { source, ..weights }.kv_scales().unwrap(), []);
    }
}
