//! A tiny checkpoint for each published one, with its configuration to the letter but for sizes, and for
//! each neighbour that people bring: all load with nothing said about them, and compute what
//! candle-transformers does with the values they mean.

use std::{fs, path::Path};

use eitri_kernels::Activations;
use eitri_models::PUBLISHED;
use rand::{SeedableRng, rngs::StdRng};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::support::{
    blocks::Block,
    gguf,
    harness::{Batch, Harness, compare, random_tokens},
    oracle,
    packed::{PackedModel, Packing, Stored},
    tiny::{Experts, Shape, Tiny, Width},
};

/// Weights and activations in f32, sums in another order.
const EXACT: f32 = 2e-4;
const VOCAB: usize = 256;

/// The published `config.json` (or the side file) of this name.
fn published(name: &str, file: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("published").join(name).join(file);
    Some(serde_json::from_slice(&fs::read(path).ok()?).unwrap())
}

/// The published configuration, smaller: heads keep their width, and the share of experts that a token
/// sees is that of one in two.
fn shrunk(mut config: Value) -> (Shape, Value) {
    let is_sparse = config.get("num_experts").is_some();
    let top_k = config["num_experts_per_tok"].as_u64().unwrap_or(0) as usize;
    let shape = Shape {
        architecture: if is_sparse { "Qwen3MoeForCausalLM" } else { "Qwen3ForCausalLM" },
        hidden: 256,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: config["head_dim"].as_u64().unwrap() as usize,
        intermediate: 384,
        vocab: VOCAB,
        tied: config["tie_word_embeddings"].as_bool().unwrap(),
        moe: is_sparse.then(|| Experts {
            count: 2 * top_k,
            top_k,
            intermediate: 128,
            norm_topk_prob: config["norm_topk_prob"].as_bool().unwrap(),
            decoder_sparse_step: config["decoder_sparse_step"].as_u64().unwrap() as usize,
            mlp_only_layers: Vec::new(),
        }),
    };
    assert_eq!(config["architectures"][0], shape.architecture);
    let tiny = shape.config();
    let mut sizes = vec!["hidden_size", "num_hidden_layers", "num_attention_heads"];
    sizes.extend(["num_key_value_heads", "intermediate_size", "vocab_size"]);
    sizes.extend(["bos_token_id", "eos_token_id", "max_window_layers"]);
    if is_sparse {
        sizes.extend(["num_experts", "moe_intermediate_size"]);
    }
    for size in sizes {
        config[size] = tiny[size].clone();
    }
    (shape, config)
}

/// What the oracle asks for and some publishers leave out.
fn for_oracle(config: &Value) -> Value {
    let mut config = config.clone();
    for (key, value) in [("attention_bias", json!(false)), ("max_window_layers", json!(2))] {
        if config.get(key).is_none() {
            config[key] = value;
        }
    }
    config
}

/// A prompt at once, prompts in chunks that share steps, one sequence a token at a time, and eight.
fn check(name: &str, path: &Path, meant: &Tiny) {
    let mut harness = Harness::open(path, Activations::Exact, 2).unwrap();
    let mut rng = StdRng::seed_from_u64(17);
    let prompts: Vec<_> = (0..8).map(|i| random_tokens(5 + 6 * i, VOCAB, &mut rng)).collect();
    let whole: Vec<_> = prompts.iter().map(|prompt| harness.prompt(prompt)).collect();
    for (prompt, got) in prompts.iter().zip(&whole) {
        let (off, _) = compare(got, &oracle::logits(meant, prompt), EXACT);
        assert!(off < EXACT, "{name}: prefill is off by {off}");
    }
    let chunked = harness.prompts_in_chunks(&prompts, &mut rng);
    assert!(chunked == whole, "{name}: logits depend on how prompts are cut");
    for together in [1, 8] {
        let decoded = last_rows(&mut harness, &prompts[..together]);
        let want: Vec<_> =
            whole.iter().take(together).map(|rows| rows.last().unwrap().clone()).collect();
        assert!(decoded == want, "{name}: decode of {together} differs from prefill");
    }
}

/// Logits of the last token of each prompt, all computed in one step after all that is before them.
fn last_rows(harness: &mut Harness, prompts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let table = |i: usize| -> Vec<u32> { (0..4).map(|block| (4 * i + block) as u32).collect() };
    let (mut before, mut last) = (Batch::default(), Batch::default());
    for (i, prompt) in prompts.iter().enumerate() {
        before.add(prompt, 0, prompt.len() - 1, &table(i));
        last.add(prompt, prompt.len() - 1, 1, &table(i));
    }
    harness.step(&before).unwrap();
    harness.step(&last).unwrap()
}

fn write(model: &PackedModel, side_file: Option<&Value>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    model.write(directory.path());
    if let Some(side_file) = side_file {
        fs::write(directory.path().join("hf_quant_config.json"), side_file.to_string()).unwrap();
    }
    directory
}

/// How each of them stores its matrices; none for bf16.
fn packing(name: &str) -> Option<Packing> {
    Some(match name.rsplit_once("A3B").map_or(name, |(_, rest)| rest) {
        "Qwen3-8B" | "" => return None,
        "Qwen3-8B-FP8" | "-FP8" | "-Instruct-FP8" => Packing::Fp8Blocks(Width::Bf16),
        "Qwen3-8B-FP4" => Packing::Nvfp4(true),
        "Qwen3-8B-GPTQ-Int4" => Packing::Gptq(4, 128, false, false, false),
        "Qwen3-8B-GPTQ-Int8" => Packing::Gptq(8, 128, false, false, false),
        "Qwen3-8B-AWQ" | "Qwen3-32B-AWQ" => Packing::Awq(128),
        "Qwen3-8B-Int4-W4A16" | "-Instruct-Int4-W4A16" => Packing::Packed(4, 128, false),
        "Qwen3-8B-Int8-W8A16" => Packing::Packed(8, 0, false),
        "-Instruct-AWQ-8bit" => Packing::Packed(8, 32, false),
        "-Instruct-AWQ-4bit" => Packing::Packed(4, 32, false),
        _ => panic!("{name} has no packing"),
    })
}

/// The scales of an FP8 KV cache, one per layer for keys and for values.
fn add_kv_scales(model: &mut PackedModel) {
    for layer in 0..2 {
        for (part, scale) in [("k_proj.k_scale", 0.02_f32), ("v_proj.v_scale", 0.03)] {
            let name = format!("model.layers.{layer}.self_attn.{part}");
            let bytes = scale.to_le_bytes().to_vec();
            model.tensors.insert(name, Stored { dtype: Dtype::F32, shape: vec![], bytes });
        }
    }
}

fn check_published(name: &str) {
    let (shape, config) = shrunk(published(name, "config.json").unwrap());
    let tiny = Tiny { config: config.clone(), ..shape.build(41) };
    let packing = packing(name);
    let mut model =
        PackedModel::mixed(&tiny, |module| packing.filter(|_| module.ends_with("_proj")));
    model.meant.config = for_oracle(&config);
    let side_file = published(name, "hf_quant_config.json");
    if side_file.is_some() {
        add_kv_scales(&mut model);
    }
    let directory = write(&model, side_file.as_ref());
    check(name, directory.path(), &model.meant);
}

#[test]
fn every_published_checkpoint() {
    let (gguf, directories): (Vec<_>, Vec<_>) =
        PUBLISHED.iter().partition(|published| published.name.ends_with("GGUF"));
    assert_eq!((gguf.len(), directories.len()), (1, 15));
    for published in directories {
        check_published(published.name);
    }
}

/// As llama.cpp's quantiser mixes `Q5_K_M`: values and the second feed-forward matrix of the first
/// and the last eighth of the layers, and the head, in `Q6_K`.
#[test]
fn the_published_gguf_file() {
    let (shape, _) = shrunk(published("Qwen3-8B", "config.json").unwrap());
    let shape = Shape { intermediate: 512, ..shape };
    let finer = ["blk.0.attn_v.", "blk.1.attn_v.", "blk.0.ffn_down", "blk.1.ffn_down", "output."];
    let block = |name: &str| {
        if finer.iter().any(|part| name.starts_with(part)) { Block::Q6K } else { Block::Q5K }
    };
    let (bytes, meant) = gguf::mixed_model(&shape, &shape.build(42), block);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("Qwen3-8B-Q5_K_M.gguf"), bytes).unwrap();
    check("Qwen3-8B-GGUF", directory.path(), &meant);
}

/// Dense and sparse checkpoints whose layers are all stored in one way.
#[test]
fn every_neighbour() {
    let with = |packing: Packing, changes: Value| {
        let mut config = packing.config();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    let gptq = |version2| Packing::Gptq(4, 128, false, version2, false);
    let act_order = Packing::Gptq(4, 128, false, false, true);
    let neighbours = [
        ("FP8-dynamic", Packing::Fp8Rows, json!({})),
        ("ModelOpt FP8", Packing::Fp8Tensor, json!({})),
        ("NVFP4", Packing::Nvfp4(false), json!({})),
        ("W4A16_NVFP4", Packing::Nvfp4(true), json!({"quant_algo": "W4A16_NVFP4"})),
        ("MXFP4", Packing::Mxfp4, json!({})),
        ("W8A8 int8", Packing::Int8, json!({})),
        ("W4A16 with zeros, groups of 32", Packing::Packed(4, 32, true), json!({})),
        ("W4A16 with zeros, groups of 64", Packing::Packed(4, 64, true), json!({})),
        ("GPTQ with desc_act", act_order, json!({})),
        ("GPTQ v2", gptq(true), json!({})),
        (
            "AutoRound as GPTQ",
            gptq(false),
            json!({"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq"}),
        ),
        (
            "AutoRound as AWQ",
            Packing::Awq(128),
            json!({"quant_method": "auto-round", "packing_format": "auto_round:auto_awq"}),
        ),
    ];
    for base in ["Qwen3-8B", "Qwen3-30B-A3B"] {
        let (shape, config) = shrunk(published(base, "config.json").unwrap());
        for (name, packing, changes) in &neighbours {
            let tiny = Tiny { config: config.clone(), ..shape.build(43) };
            let mut model = PackedModel::new(&tiny, *packing);
            model.config["quantization_config"] = with(*packing, changes.clone());
            model.meant.config = for_oracle(&config);
            check(&format!("{base}, {name}"), write(&model, None).path(), &model.meant);
        }
    }
}

/// `ModelOpt` with FP8 attention, NVFP4 feed-forward layers or experts, and a head in FP8.
#[test]
fn layers_of_modelopt_in_different_formats() {
    for base in ["Qwen3-8B", "Qwen3-30B-A3B"] {
        let (shape, config) = shrunk(published(base, "config.json").unwrap());
        let tiny = Tiny { config: config.clone(), ..shape.build(44) };
        let packing = |module: &str| match module {
            "lm_head" => Some(Packing::Fp8Tensor),
            _ if !module.ends_with("_proj") => None,
            _ if module.contains(".self_attn.") => Some(Packing::Fp8Tensor),
            _ => Some(Packing::Nvfp4(true)),
        };
        let mut model = PackedModel::mixed(&tiny, packing);
        let algorithm = |packing| if packing == Packing::Fp8Tensor { "FP8" } else { "NVFP4" };
        let modules = tiny.tensors.keys().filter_map(|name| name.strip_suffix(".weight"));
        let layers: serde_json::Map<String, Value> = modules
            .filter_map(|module| Some((module, packing(module)?)))
            .map(|(module, packing)| (module.to_owned(), json!({"quant_algo": algorithm(packing)})))
            .collect();
        assert!(layers.len() > 14);
        add_kv_scales(&mut model);
        model.meant.config = for_oracle(&config);
        let side_file = json!({"producer": {"name": "modelopt", "version": "0.33.0"},
            "quantization": {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": "FP8",
                "exclude_modules": [], "quantized_layers": layers}});
        let name = format!("{base}, MIXED_PRECISION");
        check(&name, write(&model, Some(&side_file)).path(), &model.meant);
    }
}
