//! A model's configuration as GGUF metadata (`gguf-py/gguf/constants.py` of llama.cpp).

use eitri_kernels::RopeScaling;
use eitri_quant::gguf::{MetadataArray, MetadataValue};

use super::GgufPreset;
use crate::{GenerationConfig, ModelConfig, ModelError, ModelFiles, config::EOS_TOKEN_IDS};

const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";
/// Which layout of blocks is meant; all files have this one since 2023.
const BLOCK_LAYOUT: u32 = 2;

/// Pairs in the order of the file.
#[derive(Default)]
struct Pairs {
    prefix: &'static str,
    pairs: Vec<(String, MetadataValue)>,
}

impl Pairs {
    fn add(&mut self, key: &str, value: MetadataValue) {
        self.pairs.push((key.to_owned(), value));
    }

    /// A key of the architecture.
    fn own(&mut self, key: &str, value: MetadataValue) {
        self.pairs.push((format!("{}.{key}", self.prefix), value));
    }

    fn size(&mut self, key: &str, value: usize) {
        self.own(key, MetadataValue::U32(value as u32));
    }

    fn number(&mut self, key: &str, value: f64) {
        self.own(key, MetadataValue::F32(value as f32));
    }

    fn preset(&mut self, preset: &GgufPreset) {
        self.add(QUANTIZATION_VERSION, MetadataValue::U32(BLOCK_LAYOUT));
        self.add(FILE_TYPE, MetadataValue::U32(preset.file_type));
    }
}

/// The metadata of a GGUF model with other types.
pub(super) fn of_gguf(files: &ModelFiles, preset: &GgufPreset) -> Vec<(String, MetadataValue)> {
    // The writer has its own alignment.
    const REPLACED: [&str; 3] = [FILE_TYPE, QUANTIZATION_VERSION, "general.alignment"];
    let mut pairs = Pairs::default();
    for (key, value) in files.checkpoint().metadata().filter(|(key, _)| !REPLACED.contains(key)) {
        pairs.add(key, MetadataValue::Stored(value.to_owned()));
    }
    pairs.preset(preset);
    pairs.pairs
}

/// The metadata of a model from a Hugging Face directory.
///
/// # Errors
/// When the configuration has what GGUF cannot say.
pub(super) fn of_config(
    files: &ModelFiles,
    preset: &GgufPreset,
) -> Result<Vec<(String, MetadataValue)>, ModelError> {
    let config = files.config();
    let mut pairs = Pairs { prefix: config.architecture.gguf, pairs: Vec::new() };
    pairs.add("general.architecture", config.architecture.gguf.into());
    pairs.add("general.type", "model".into());
    pairs.add("general.name", files.name().into());
    sampling(&mut pairs, files.generation());
    network(&mut pairs, config);
    rope(&mut pairs, config)?;
    pairs.preset(preset);
    let ends = &files.generation().eos_token_ids;
    if ends.len() > 1 {
        pairs.add(EOS_TOKEN_IDS, MetadataValue::Array(MetadataArray::U32(ends.clone())));
    }
    Ok(pairs.pairs)
}

fn sampling(pairs: &mut Pairs, generation: &GenerationConfig) {
    if let Some(top_k) = generation.top_k {
        pairs.add("general.sampling.top_k", MetadataValue::I32(top_k.min(i32::MAX as u32) as i32));
    }
    for (key, value) in [
        ("general.sampling.top_p", generation.top_p),
        ("general.sampling.min_p", generation.min_p),
        ("general.sampling.temp", generation.temperature),
        ("general.sampling.penalty_repeat", generation.repetition_penalty),
    ] {
        if let Some(value) = value {
            pairs.add(key, MetadataValue::F32(value as f32));
        }
    }
}

fn network(pairs: &mut Pairs, config: &ModelConfig) {
    pairs.size("block_count", config.layers);
    // With scaling applied: what one may use, to llama.cpp as to this program's own reader.
    pairs.size("context_length", config.max_position_embeddings);
    pairs.size("embedding_length", config.hidden_size);
    pairs.size("feed_forward_length", config.intermediate_size);
    pairs.size("attention.head_count", config.heads);
    pairs.size("attention.head_count_kv", config.kv_heads);
    pairs.size("attention.key_length", config.head_dim);
    pairs.size("attention.value_length", config.head_dim);
    let eps = MetadataValue::F32(config.rms_norm_eps);
    pairs.own("attention.layer_norm_rms_epsilon", eps);
    pairs.number("rope.freq_base", config.rope_theta);
    if config.architecture.gguf_interleaved {
        pairs.size("vocab_size", config.vocab_size);
        pairs.size("rope.dimension_count", config.head_dim);
    }
    if let Some(moe) = &config.moe {
        pairs.size("expert_count", moe.experts);
        pairs.size("expert_used_count", moe.top_k);
        pairs.size("expert_feed_forward_length", moe.intermediate_size);
        if !moe.norm_topk_prob {
            // llama.cpp takes the opposite for granted in this architecture and ignores the key.
            pairs.own("expert_weights_norm", MetadataValue::Bool(false));
        }
    }
}

fn rope(pairs: &mut Pairs, config: &ModelConfig) -> Result<(), ModelError> {
    let scaling = |pairs: &mut Pairs, kind: &str, factor| {
        pairs.own("rope.scaling.type", kind.into());
        pairs.number("rope.scaling.factor", factor);
    };
    match config.rope_scaling {
        // Llama 3 scaling is a tensor.
        RopeScaling::None | RopeScaling::Llama3 { .. } => {}
        RopeScaling::Linear { factor } => scaling(pairs, "linear", factor),
        RopeScaling::Yarn { factor, original_max, beta_fast, beta_slow, .. } => {
            refuse_yarn(&config.rope_scaling)?;
            scaling(pairs, "yarn", factor);
            pairs.size("rope.scaling.original_context_length", original_max);
            pairs.number("rope.scaling.yarn_beta_fast", beta_fast);
            pairs.number("rope.scaling.yarn_beta_slow", beta_slow);
        }
    }
    Ok(())
}

/// Refuses what would be lost.
fn refuse_yarn(scaling: &RopeScaling) -> Result<(), ModelError> {
    let RopeScaling::Yarn { attention_factor, mscale, mscale_all_dim, truncate, .. } = *scaling
    else {
        return Ok(());
    };
    let lost = [
        ("attention_factor", attention_factor),
        ("mscale", mscale),
        ("mscale_all_dim", mscale_all_dim),
        ("truncate", (!truncate).then_some(0.0)),
    ];
    match lost.into_iter().find_map(|(field, value)| Some((field, value?))) {
        None => Ok(()),
        Some((field, value)) => Err(ModelError::Unsupported {
            file: "config.json".to_owned(),
            field: format!("rope_scaling.{field}"),
            value: value.to_string(),
            hint: " in GGUF".to_owned(),
        }),
    }
}
