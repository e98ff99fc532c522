//! Types by name and shape, against sizes that llama.cpp's own files have.

use eitri_kernels::RopeScaling;
use eitri_quant::Encoding;

use super::*;
use crate::{ModelConfig, MoeConfig, architectures};

/// Qwen3-8B's `config.json`.
fn qwen3_8b() -> ModelConfig {
    ModelConfig {
        architecture: architectures()[0],
        hidden_size: 4096,
        layers: 36,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        intermediate_size: 12_288,
        vocab_size: 151_936,
        max_position_embeddings: 40_960,
        rms_norm_eps: 1e-6,
        rope_theta: 1e6,
        rope_scaling: RopeScaling::None,
        tie_word_embeddings: false,
        qk_norm: true,
        moe: None,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
    }
}

fn choose(preset: &str, name: &str, shape: &[usize], config: &ModelConfig) -> &'static str {
    GgufPreset::find(preset).unwrap().choose(name, shape, config).encoding.name
}

/// Bytes of all tensors of a dense model.
fn file_bytes(preset: &str, config: &ModelConfig) -> u64 {
    let preset = GgufPreset::find(preset).unwrap();
    let bytes = |name: &str, shape: &[usize]| {
        let encoding = preset.choose(name, shape, config).encoding;
        let new = NewTensor { name: name.to_owned(), encoding, shape: shape.to_vec() };
        new.bytes().unwrap()
    };
    let (hidden, wide, head) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let vocab = [config.vocab_size, hidden];
    let (q, kv) = (config.heads * head, config.kv_heads * head);
    let mut total = bytes("token_embd.weight", &vocab) + bytes("output.weight", &vocab);
    total += bytes("output_norm.weight", &[hidden]);
    for layer in 0..config.layers {
        let tensor =
            |name: &str, shape: &[usize]| bytes(&format!("blk.{layer}.{name}.weight"), shape);
        total += tensor("attn_norm", &[hidden]) + tensor("ffn_norm", &[hidden]);
        total += tensor("attn_q_norm", &[head]) + tensor("attn_k_norm", &[head]);
        total += tensor("attn_q", &[q, hidden]) + tensor("attn_k", &[kv, hidden]);
        total += tensor("attn_v", &[kv, hidden]) + tensor("attn_output", &[hidden, q]);
        total += tensor("ffn_gate", &[wide, hidden]) + tensor("ffn_up", &[wide, hidden]);
        total += tensor("ffn_down", &[hidden, wide]);
    }
    total
}

/// Published are 5.03 and 5.85 GB, of which 5.9 MB are the tokenizer.
#[test]
fn mixed_presets_have_the_sizes_of_published_files() {
    let config = qwen3_8b();
    for (preset, published) in [("q4_k_m", 5.022e9), ("q5_k_m", 5.845e9)] {
        let ratio = file_bytes(preset, &config) as f64 / published;
        assert!((ratio - 1.0).abs() < 2e-3, "{preset}: {ratio}");
    }
}

#[test]
fn norms_vectors_and_routers_stay_f32() {
    let config = qwen3_8b();
    for preset in &GGUF_PRESETS {
        for (name, shape) in [
            ("output_norm.weight", &[4096][..]),
            ("blk.0.attn_q_norm.weight", &[128]),
            ("blk.0.ffn_gate_inp.weight", &[128, 2048]),
            ("rope_freqs.weight", &[64]),
        ] {
            assert_eq!(choose(preset.name, name, shape, &config), "F32", "{name}");
        }
        let matrix = preset.choose("blk.3.attn_q.weight", &[4096, 4096], &config);
        assert_eq!((matrix.encoding, matrix.is_fallback), (preset.base, false));
    }
}

#[test]
fn layers_that_matter_more_get_more_bits() {
    let config = qwen3_8b();
    let of_layer = |layer: usize, name: &str| {
        choose("q4_k_m", &format!("blk.{layer}.{name}.weight"), &[4096, 4096], &config)
    };
    let more: Vec<usize> = (0..36).filter(|&layer| of_layer(layer, "ffn_down") == "Q6_K").collect();
    let expected = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 31, 32, 33, 34, 35];
    assert_eq!(more, expected);
    assert!(expected.iter().all(|&layer| of_layer(layer, "attn_v") == "Q6_K"));
    assert!((0..36).all(|layer| of_layer(layer, "attn_k") == "Q4_K"));

    let moe = MoeConfig {
        experts: 8,
        top_k: 2,
        intermediate_size: 768,
        norm_topk_prob: true,
        decoder_sparse_step: 1,
        mlp_only_layers: Vec::new(),
    };
    let config = ModelConfig { moe: Some(moe), ..qwen3_8b() };
    let name = |name| choose("q4_k_m", name, &[512, 2048], &config);
    assert_eq!(name("blk.0.attn_v.weight"), "Q8_0");
    assert_eq!(name("blk.5.attn_k.weight"), "Q8_0");
    assert_eq!(name("blk.5.attn_output.weight"), "Q5_K");
    assert_eq!(name("blk.0.ffn_down_exps.weight"), "Q6_K");
}

#[test]
fn the_output_has_its_own_type_wherever_it_is() {
    let untied = qwen3_8b();
    let tied = ModelConfig { tie_word_embeddings: true, ..qwen3_8b() };
    let shape = [151_936, 4096];
    assert_eq!(choose("q4_k_m", "token_embd.weight", &shape, &untied), "Q4_K");
    assert_eq!(choose("q4_k_m", "output.weight", &shape, &untied), "Q6_K");
    assert_eq!(choose("q4_k_m", "token_embd.weight", &shape, &tied), "Q6_K");
    assert_eq!(choose("q4_0", "token_embd.weight", &shape, &tied), "Q4_0");
}

#[test]
fn rows_that_do_not_divide_get_smaller_blocks() {
    let config = qwen3_8b();
    for (preset, k, expected) in [
        ("q4_k_m", 576, "Q5_0"),
        ("q5_k_m", 576, "Q5_1"),
        ("q6_k", 576, "Q8_0"),
        ("q4_k_m", 48, "F16"),
        ("q8_0", 48, "F16"),
        ("q4_0", 576, "Q4_0"),
    ] {
        let name = "blk.10.ffn_up.weight";
        let choice = GgufPreset::find(preset).unwrap().choose(name, &[64, k], &config);
        assert_eq!((choice.encoding.name, choice.is_fallback), (expected, preset != "q4_0"));
    }
    assert_eq!(choose("q4_k_m", "output.weight", &[64, 576], &config), "Q8_0");
    assert_eq!(Encoding::Q8_0.size(576), Some(612));
}
