//! Random checkpoints of a few million parameters, one in the format of each published checkpoint.
//!
//! Each is a random Qwen3 model, dense or sparse, with the tokenizer of the bundled model, quantised
//! as `eitri quantize` does it.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use eitri::{QuantizeFormat, QuantizeOptions, ROBOT};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

const LAYERS: usize = 2;
const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 512;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 64;
const EXPERTS: usize = 8;
const EXPERTS_PER_TOKEN: usize = 2;
const EXPERT_INTERMEDIATE: usize = 256;

/// Makes stand-ins below a directory; what is there is taken as it is.
#[derive(Debug)]
pub(super) struct TinyCheckpoints {
    directory: PathBuf,
}

/// How a published checkpoint is stored, and in groups of how many if not the usual; `None` is bf16.
fn format_of(model: &str) -> Result<Option<(&'static str, Option<usize>)>> {
    let formats = [
        ("-FP8", "fp8-block", None),
        ("-FP4", "nvfp4", None),
        ("-GPTQ-Int4", "gptq-int4", None),
        ("-GPTQ-Int8", "gptq-int8", None),
        ("-AWQ-8bit", "w8a16", Some(32)),
        ("-AWQ-4bit", "w4a16", Some(32)),
        ("-AWQ", "awq-int4", None),
        ("-Int4-W4A16", "w4a16", None),
        ("-Int8-W8A16", "w8a16", None),
        ("-GGUF", "q5_k_m", None),
    ];
    match formats.iter().find(|(ending, ..)| model.ends_with(ending)) {
        Some(&(_, format, group)) => Ok(Some((format, group))),
        None if ["Qwen3-8B", "Qwen3-30B-A3B"].contains(&model) => Ok(None),
        None => bail!("no tiny checkpoint is known that could stand in for {model}"),
    }
}

impl TinyCheckpoints {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Directory with the tokenizer of all stand-ins.
    pub(super) fn tokenizer(&self) -> Result<PathBuf> {
        self.plain(false)
    }

    /// The stand-in for a published checkpoint and what it is.
    pub(super) fn make(&self, model: &str) -> Result<(PathBuf, String)> {
        let sparse = model.contains("-A3B");
        let kind = if sparse { "sparse" } else { "dense" };
        let plain = self.plain(sparse)?;
        let Some((format, group)) = format_of(model)? else {
            return Ok((plain, format!("a random {kind} Qwen3, bf16")));
        };
        let Some(mut target) = QuantizeFormat::find(format) else { bail!("{format} is no format") };
        let mut format = format.to_owned();
        if let Some(size) = group {
            target = target.with_group(size)?;
            format = format!("{format}-g{size}");
        }
        let what = format!("a random {kind} Qwen3, {format}");
        let ending = if matches!(target, QuantizeFormat::Gguf(_)) { ".gguf" } else { "" };
        let path = self.directory.join(format!("{kind}-{format}{ending}"));
        if !path.exists() {
            quantise(&plain, target, &path)?;
        }
        Ok((path, what))
    }

    /// The bf16 model that the others are made from.
    fn plain(&self, sparse: bool) -> Result<PathBuf> {
        let path = self.directory.join(if sparse { "sparse-bf16" } else { "dense-bf16" });
        if path.join("model.safetensors").exists() {
            return Ok(path);
        }
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        // A quantised directory of the bundled model brings its tokenizer along.
        let bundled = self.directory.join("bundled");
        let Some(target) = QuantizeFormat::find("w8a16") else { bail!("w8a16 is no format") };
        if !bundled.exists() {
            quantise(Path::new(ROBOT), target, &bundled)?;
        }
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(bundled.join(name), path.join(name)).with_context(|| name.to_owned())?;
        }
        let bundled_config: Value =
            serde_json::from_slice(&fs::read(bundled.join("config.json"))?)?;
        let vocabulary = bundled_config["vocab_size"].as_u64().context("no vocab_size")? as usize;
        let config = config(vocabulary, sparse);
        fs::write(path.join("config.json"), format!("{config:#}"))?;
        fs::write(path.join("model.safetensors"), weights(vocabulary, sparse))?;
        Ok(path)
    }
}

fn quantise(model: &Path, format: QuantizeFormat, out: &Path) -> Result<()> {
    let options = QuantizeOptions {
        format,
        out: out.to_owned(),
        overwrite: false,
        calibrate: None,
        revision: None,
        threads: None,
    };
    eitri::quantize(model, &options, &mut |_| ControlFlow::Continue(()))
        .with_context(|| out.display().to_string())?;
    Ok(())
}

fn config(vocabulary: usize, sparse: bool) -> Value {
    let mut config = json!({
        "architectures": [if sparse { "Qwen3MoeForCausalLM" } else { "Qwen3ForCausalLM" }],
        "model_type": if sparse { "qwen3_moe" } else { "qwen3" },
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "intermediate_size": INTERMEDIATE,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_scaling": null,
        "tie_word_embeddings": false,
        "hidden_act": "silu",
        "attention_bias": false,
        "use_sliding_window": false,
        "sliding_window": null,
        "max_window_layers": LAYERS,
        "torch_dtype": "bfloat16",
    });
    if sparse {
        config["num_experts"] = json!(EXPERTS);
        config["num_experts_per_tok"] = json!(EXPERTS_PER_TOKEN);
        config["moe_intermediate_size"] = json!(EXPERT_INTERMEDIATE);
        config["norm_topk_prob"] = json!(true);
        config["decoder_sparse_step"] = json!(1);
        config["mlp_only_layers"] = json!([]);
    }
    config
}

/// A safetensors file of random bf16 values: eight bytes with the length of the header, the header as
/// JSON, the values.
fn weights(vocabulary: usize, sparse: bool) -> Vec<u8> {
    let mut file = Tensors { rng: StdRng::seed_from_u64(1), header: Map::new(), data: Vec::new() };
    file.matrix("model.embed_tokens", vocabulary, HIDDEN);
    file.matrix("lm_head", vocabulary, HIDDEN);
    file.norm("model.norm", HIDDEN);
    for layer in 0..LAYERS {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        file.norm(&at("input_layernorm"), HIDDEN);
        file.norm(&at("post_attention_layernorm"), HIDDEN);
        file.norm(&at("self_attn.q_norm"), HEAD_DIM);
        file.norm(&at("self_attn.k_norm"), HEAD_DIM);
        file.matrix(&at("self_attn.q_proj"), HEADS * HEAD_DIM, HIDDEN);
        file.matrix(&at("self_attn.k_proj"), KV_HEADS * HEAD_DIM, HIDDEN);
        file.matrix(&at("self_attn.v_proj"), KV_HEADS * HEAD_DIM, HIDDEN);
        file.matrix(&at("self_attn.o_proj"), HIDDEN, HEADS * HEAD_DIM);
        if !sparse {
            file.feed_forward(&at("mlp"), INTERMEDIATE);
            continue;
        }
        file.matrix(&at("mlp.gate"), EXPERTS, HIDDEN);
        for expert in 0..EXPERTS {
            file.feed_forward(&at(&format!("mlp.experts.{expert}")), EXPERT_INTERMEDIATE);
        }
    }
    let header = Value::Object(file.header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.append(&mut file.data);
    bytes
}

struct Tensors {
    rng: StdRng,
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Tensors {
    /// Values that keep the variance of what they multiply.
    fn matrix(&mut self, name: &str, n: usize, k: usize) {
        let bound = (3.0 / k as f32).sqrt();
        self.tensor(name, &[n, k], -bound..bound);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.tensor(name, &[width], 0.9..1.1);
    }

    fn feed_forward(&mut self, name: &str, width: usize) {
        self.matrix(&format!("{name}.gate_proj"), width, HIDDEN);
        self.matrix(&format!("{name}.up_proj"), width, HIDDEN);
        self.matrix(&format!("{name}.down_proj"), HIDDEN, width);
    }

    fn tensor(&mut self, name: &str, shape: &[usize], range: std::ops::Range<f32>) {
        let start = self.data.len();
        for _ in 0..shape.iter().product::<usize>() {
            let value: f32 = self.rng.random_range(range.clone());
            // The upper half of an f32 is a bf16.
            self.data.extend_from_slice(&((value.to_bits() >> 16) as u16).to_le_bytes());
        }
        let entry =
            json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, self.data.len()]});
        self.header.insert(format!("{name}.weight"), entry);
    }
}

#[cfg(test)]
mod tests {
    use eitri::{Engine, PUBLISHED};

    use super::*;

    /// All sixteen open with a plan of their weights in the format of the published checkpoint.
    #[test]
    fn every_published_checkpoint_has_a_stand_in_that_opens() {
        let directory = tempfile::tempdir().unwrap();
        let tiny = TinyCheckpoints::new(directory.path().to_owned());
        for published in &PUBLISHED {
            let (path, what) = tiny.make(published.name).unwrap();
            let planned = Engine::builder().model(&path).plan();
            let planned = planned.unwrap_or_else(|error| panic!("{what}: {error}"));
            let info = planned.model_info();
            let real = eitri::ModelInfo::of_published(published).unwrap();
            assert_eq!(info.config.moe.is_some(), real.config.moe.is_some(), "{what}");
            let stored = |info: &eitri::ModelInfo| {
                let rows = &info.weights.rows;
                let row = rows.iter().find(|row| row.kind == "attention output").unwrap();
                (row.stored, row.scale_group)
            };
            assert_eq!(stored(info), stored(&real), "{what}");
        }
    }
}
