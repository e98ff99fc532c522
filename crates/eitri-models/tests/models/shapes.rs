//! What configurations say: defaults, new names of old fields, and refusals.

use eitri_models::{ModelConfig, ModelFiles, RopeScaling, arena_bytes};
use serde_json::{Value, json};

use crate::support::tiny::{Shape, Tiny, Width};

fn open(tiny: &Tiny) -> Result<ModelConfig, String> {
    let directory = tempfile::tempdir().unwrap();
    tiny.write(directory.path(), Width::Bf16);
    let files = ModelFiles::open(directory.path()).map_err(|error| error.to_string())?;
    Ok(files.config().clone())
}

fn with(shape: &Shape, changes: &[(&str, Value)]) -> Result<ModelConfig, String> {
    let mut tiny = shape.build(1);
    for (key, value) in changes {
        if value.is_null() {
            tiny.config.as_object_mut().unwrap().remove(*key);
        } else {
            tiny.config[*key] = value.clone();
        }
    }
    open(&tiny)
}

#[test]
fn absent_fields_have_defaults() {
    let absent = [
        "head_dim",
        "num_key_value_heads",
        "rope_theta",
        "attention_bias",
        "torch_dtype",
        "hidden_act",
        "bos_token_id",
        "tie_word_embeddings",
        "rms_norm_eps",
        "eos_token_id",
    ];
    let config = with(&Shape::qwen3(), &absent.map(|key| (key, Value::Null))).unwrap();
    assert_eq!((config.head_dim, config.kv_heads), (16, 4));
    assert!((config.rope_theta - 10_000.0).abs() < f64::EPSILON);
    assert!(!config.tie_word_embeddings && config.eos_token_ids.is_empty());
}

#[test]
fn transformers_5_names_are_understood() {
    let changes = [
        ("rope_theta", Value::Null),
        ("torch_dtype", Value::Null),
        ("num_experts", Value::Null),
        ("dtype", json!("bfloat16")),
        ("num_local_experts", json!(6)),
        ("layer_types", json!(["full_attention", "full_attention"])),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 5e6})),
    ];
    let config = with(&Shape::qwen3_moe(true), &changes).unwrap();
    assert!((config.rope_theta - 5e6).abs() < f64::EPSILON);
    assert_eq!(config.moe.unwrap().experts, 6);
    assert_eq!(config.rope_scaling, RopeScaling::None);
}

#[test]
fn rope_scaling_stretches_the_context() {
    let scaling = |value| with(&Shape::qwen3(), &[("rope_scaling", value)]).unwrap();
    let yarn = scaling(json!({"rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 1024}));
    assert_eq!(yarn.max_position_embeddings, 4096);
    assert!(matches!(yarn.rope_scaling, RopeScaling::Yarn { original_max: 1024, .. }));
    let linear = scaling(json!({"type": "linear", "factor": 2.0}));
    assert_eq!(linear.max_position_embeddings, 4096);
    assert_eq!(linear.rope_scaling, RopeScaling::Linear { factor: 2.0 });
}

#[test]
fn what_would_be_computed_wrongly_is_refused_by_name() {
    let cases = [
        ("attention_bias", json!(true), "attention_bias is true, which is not supported"),
        ("use_sliding_window", json!(true), "use_sliding_window is true, which is not supported"),
        ("layer_types", json!(["sliding_attention"]), "layer_types is \"sliding_attention\""),
        ("hidden_act", json!("gelu"), "hidden_act is gelu, which is not supported; only silu is"),
        ("partial_rotary_factor", json!(0.25), "partial_rotary_factor is 0.25"),
        ("rope_scaling", json!({"rope_type": "longrope"}), "rope_scaling.rope_type is longrope"),
        ("rope_scaling", json!({"rope_type": "yarn"}), "rope_scaling.factor must be"),
        (
            "quantization_config",
            json!({"quant_method": "bitsandbytes", "load_in_4bit": true}),
            "quant_method bitsandbytes is not supported; readable are fp8, compressed-tensors",
        ),
        ("shared_expert_intermediate_size", json!(64), "shared_expert_intermediate_size"),
    ];
    for (key, value, message) in cases {
        let error = with(&Shape::qwen3(), &[(key, value)]).unwrap_err();
        assert!(error.starts_with("config.json: ") && error.contains(message), "{error}");
    }
}

#[test]
fn a_config_that_lies_is_an_error_that_says_where() {
    let cases = [
        ("num_key_value_heads", json!(3), "num_key_value_heads must be a divisor of the 4"),
        ("hidden_size", json!(0), "hidden_size must be a whole number from 1 to 1048576, got 0"),
        ("hidden_size", json!(-1), "hidden_size must be a whole number"),
        ("hidden_size", json!(u64::MAX), "hidden_size must be a whole number"),
        ("vocab_size", json!("many"), "vocab_size must be a whole number"),
        (
            "vocab_size",
            Value::Null,
            "vocab_size must be a whole number from 1 to 16777216, got nothing",
        ),
        ("head_dim", json!(12), "head_dim must be a multiple of 8, got 12"),
        ("num_hidden_layers", json!(1e9), "num_hidden_layers must be a whole number"),
        ("max_position_embeddings", json!(0), "max_position_embeddings must be"),
        ("rms_norm_eps", json!(0.0), "rms_norm_eps must be a finite number above 0"),
        ("rope_theta", json!(-1.0), "rope_theta must be a finite number above 0"),
        ("rope_scaling", json!("yarn"), "rope_scaling must be an object"),
        ("architectures", json!([]), "architectures must be a list of one class name"),
        ("eos_token_id", json!([1, -2]), "eos_token_id must be a token id or a list of them"),
        ("tie_word_embeddings", json!(1), "tie_word_embeddings must be true or false"),
    ];
    for (key, value, message) in cases {
        let error = with(&Shape::qwen3(), &[(key, value)]).unwrap_err();
        assert!(error.starts_with("config.json: ") && error.contains(message), "{error}");
    }
    let moe = [("num_experts_per_tok", json!(7))];
    let error = with(&Shape::qwen3_moe(true), &moe).unwrap_err();
    assert_eq!(error, "config.json: num_experts_per_tok must be at most the 6 experts, got 7");
}

#[test]
fn an_unknown_architecture_is_named_beside_the_known_ones() {
    let changes = [("architectures", json!(["GPT2LMHeadModel"]))];
    assert_eq!(
        with(&Shape::qwen3(), &changes).unwrap_err(),
        "config.json: architecture GPT2LMHeadModel is not supported; supported are \
         Qwen3ForCausalLM, Qwen3MoeForCausalLM, LlamaForCausalLM"
    );
}

#[test]
fn generation_defaults_fall_back_to_the_config() {
    let tiny = Shape::qwen3().build(1);
    let directory = tempfile::tempdir().unwrap();
    tiny.write(directory.path(), Width::F32);
    let open = || ModelFiles::open(directory.path());
    assert_eq!(open().unwrap().generation().eos_token_ids, [2, 3]);
    let file = directory.path().join("generation_config.json");
    let json = json!({"temperature": 0.6, "top_k": 20, "eos_token_id": 7, "unknown": []});
    std::fs::write(&file, json.to_string()).unwrap();
    let files = open().unwrap();
    let generation = files.generation();
    assert_eq!((generation.temperature, generation.top_k), (Some(0.6), Some(20)));
    assert_eq!((&*generation.eos_token_ids, generation.bos_token_id), (&[7][..], Some(1)));
    std::fs::write(&file, "{\"top_k\": -1}").unwrap();
    let error = open().unwrap_err().to_string();
    assert!(error.starts_with("generation_config.json: top_k must be"), "{error}");
}

/// Every tensor of the arena counted by hand for one shape.
#[test]
fn arena_bytes_are_those_of_its_tensors() {
    let dense = open(&Shape::qwen3().build(1)).unwrap();
    let widths = 3 * 64 + 8 * 16 + 4 * 16 + 3 * 96;
    assert_eq!(arena_bytes(&dense, 10, 2), 4 * (10 * widths + 2 * 256));
    let sparse = open(&Shape::qwen3_moe(true).build(1)).unwrap();
    let widths = 3 * 64 + 8 * 16 + 4 * 16;
    let experts = 6 + 4 * 2 + 2 * (3 * 32 + 64);
    assert_eq!(arena_bytes(&sparse, 10, 2), 4 * (10 * (widths + experts) + 2 * 256));
}
