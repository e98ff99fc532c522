//! GGUF metadata (`gguf-py/gguf/constants.py` of llama.cpp lists the keys).

use eitri_kernels::RopeScaling;
use eitri_quant::{
    Checkpoint,
    gguf::{Array, Gguf, Value},
};

use super::{CheckNames, GenerationConfig, ModelConfig, MoeConfig, fields::Fields, limits};
use crate::{
    ModelError, registry,
    weights::{Naming, Slot},
};

const DEFAULT_THETA: f64 = 10_000.0;
/// What Llama 3 scaling divides each frequency by.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Reads and checks the configuration in a GGUF file.
pub(crate) fn from_gguf(
    file: &str,
    header: &Gguf,
    checkpoint: &Checkpoint,
) -> Result<ModelConfig, ModelError> {
    let general = Fields::gguf(file, header, "");
    let Some(name) = general.text("general.architecture")? else {
        return Err(general.error("general.architecture", "a string", "nothing"));
    };
    let architecture = registry::find(file, name, |known| known.gguf)?;
    let fields = Fields::gguf(file, header, &format!("{}.", architecture.gguf));
    let hidden_size = fields.size("embedding_length", limits::WIDTH)?;
    let layers = fields.size("block_count", limits::LAYERS)?;
    let heads = fields.size("attention.head_count", limits::HEADS)?;
    let kv_heads = fields.optional_size("attention.head_count_kv", limits::HEADS)?.unwrap_or(heads);
    let head_dim = head_dim(&fields, hidden_size, heads)?;
    let tokens = Fields::gguf(file, header, "tokenizer.ggml.");
    let config = ModelConfig {
        architecture,
        hidden_size,
        layers,
        heads,
        kv_heads,
        head_dim,
        intermediate_size: fields
            .optional_size("feed_forward_length", limits::WIDTH)?
            .unwrap_or(hidden_size),
        vocab_size: vocab_size(file, checkpoint)?,
        max_position_embeddings: fields.size("context_length", limits::POSITIONS)?,
        rms_norm_eps: fields.positive("attention.layer_norm_rms_epsilon")?.ok_or_else(|| {
            let expected = "a finite number above 0";
            fields.error("attention.layer_norm_rms_epsilon", expected, "nothing")
        })? as f32,
        rope_theta: fields.positive("rope.freq_base")?.unwrap_or(DEFAULT_THETA),
        rope_scaling: rope_scaling(&fields, checkpoint, head_dim)?,
        tie_word_embeddings: !checkpoint.contains("output.weight"),
        qk_norm: architecture.qk_norm,
        moe: if architecture.experts { moe(&fields, checkpoint, layers)? } else { dense(&fields)? },
        bos_token_id: tokens.index("bos_token_id")?,
        eos_token_ids: eos_token_ids(&tokens, header)?,
    };
    config.check(
        file,
        &CheckNames {
            kv_heads: "attention.head_count_kv",
            head_dim: "attention.key_length",
            top_k: "expert_used_count",
        },
    )
}

/// Sampling defaults, which newer files have under `general.sampling`.
pub(crate) fn generation_from_gguf(
    file: &str,
    header: &Gguf,
    config: &ModelConfig,
) -> Result<GenerationConfig, ModelError> {
    let fields = Fields::gguf(file, header, "general.sampling.");
    Ok(GenerationConfig {
        temperature: fields.number("temp")?,
        top_k: fields.index("top_k")?,
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        repetition_penalty: fields.positive("penalty_repeat")?,
        bos_token_id: config.bos_token_id,
        eos_token_ids: config.eos_token_ids.clone(),
        ..GenerationConfig::default()
    })
}

fn head_dim(fields: &Fields<'_>, hidden: usize, heads: usize) -> Result<usize, ModelError> {
    let head_dim = match fields.optional_size("attention.key_length", limits::HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let expected = format!("a divisor of embedding_length, {hidden}");
            return Err(fields.error("attention.head_count", &expected, heads));
        }
    };
    for name in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = fields.optional_size(name, limits::WIDTH)?
            && other != head_dim
        {
            let hint = format!("it must be the head's {head_dim} dimensions");
            return Err(fields.unsupported(name, other, &hint));
        }
    }
    Ok(head_dim)
}

/// Rows of the embedding table: `vocab_size` is optional metadata.
fn vocab_size(file: &str, checkpoint: &Checkpoint) -> Result<usize, ModelError> {
    let name = format!("{}.weight", Naming::Gguf.module(Slot::Embedding, 0));
    let view = checkpoint.tensor(&name)?;
    match *view.shape {
        [vocab, _] if vocab as u64 <= limits::VOCAB => Ok(vocab),
        ref shape => Err(ModelError::Field {
            file: file.to_owned(),
            field: name,
            expected: format!("of shape [vocab, embedding_length], vocab up to {}", limits::VOCAB),
            got: format!("{shape:?}"),
        }),
    }
}

/// End tokens beyond the one that GGUF has a key for; written by the exporter.
pub(crate) const EOS_TOKEN_IDS: &str = "eitri.eos_token_ids";

fn eos_token_ids(tokens: &Fields<'_>, header: &Gguf) -> Result<Vec<u32>, ModelError> {
    let mut ids = Vec::new();
    if let Some(Value::Array(Array::Unsigned(all))) = header.metadata.get(EOS_TOKEN_IDS) {
        ids.extend(all.iter().filter_map(|&id| u32::try_from(id).ok()));
    }
    for name in ["eos_token_id", "eot_token_id"] {
        if let Some(id) = tokens.index(name)?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn moe(
    fields: &Fields<'_>,
    checkpoint: &Checkpoint,
    layers: usize,
) -> Result<Option<MoeConfig>, ModelError> {
    if fields
        .optional_size("expert_shared_feed_forward_length", u64::MAX)
        .is_ok_and(|x| x.is_some())
    {
        return Err(fields.unsupported("expert_shared_feed_forward_length", "present", ""));
    }
    // Which layers are sparse is not in the metadata: those that have a router.
    let router = |layer| format!("{}.weight", Naming::Gguf.module(Slot::Router, layer));
    let mlp_only_layers =
        (0..layers).filter(|&layer| !checkpoint.contains(&router(layer))).collect();
    Ok(Some(MoeConfig {
        experts: fields.size("expert_count", limits::EXPERTS)?,
        top_k: fields.size("expert_used_count", limits::EXPERTS)?,
        intermediate_size: fields.size("expert_feed_forward_length", limits::WIDTH)?,
        // llama.cpp assumes it for this architecture; the key is newer than most files.
        norm_topk_prob: fields.flag("expert_weights_norm")?.unwrap_or(true),
        decoder_sparse_step: 1,
        mlp_only_layers,
    }))
}

/// Mixtral files say that they are `llama`.
fn dense(fields: &Fields<'_>) -> Result<Option<MoeConfig>, ModelError> {
    match fields.number("expert_count")? {
        Some(experts) if experts > 0.0 => {
            Err(fields.unsupported("expert_count", experts, "this architecture is dense"))
        }
        _ => Ok(None),
    }
}

fn rope_scaling(
    fields: &Fields<'_>,
    checkpoint: &Checkpoint,
    head_dim: usize,
) -> Result<RopeScaling, ModelError> {
    let factor = || {
        let name = "rope.scaling.factor";
        let factor = fields.positive(name)?;
        factor.ok_or_else(|| fields.error(name, "a finite number above 0", "nothing"))
    };
    match fields.text("rope.scaling.type")? {
        None | Some("none") if checkpoint.contains(ROPE_FACTORS) => {
            llama3(fields, &checkpoint.vector(ROPE_FACTORS, head_dim / 2)?)
        }
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: factor()? }),
        Some("yarn") => {
            let original = "rope.scaling.original_context_length";
            Ok(RopeScaling::Yarn {
                factor: factor()?,
                original_max: fields.size(original, limits::POSITIONS)?,
                beta_fast: fields.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: fields.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                attention_factor: None,
                mscale: None,
                mscale_all_dim: None,
                truncate: true,
            })
        }
        Some(other) => {
            let hint = "supported are none, linear and yarn";
            Err(fields.unsupported("rope.scaling.type", other, hint))
        }
    }
}

/// The converter of Llama 3 writes what its scaling divides each frequency by instead of the
/// parameters. All published models share three of the four, and the fourth is the largest value;
/// that they give the values in the file is checked.
fn llama3(fields: &Fields<'_>, factors: &[f32]) -> Result<RopeScaling, ModelError> {
    let (low_freq_factor, high_freq_factor, original_max) = (1.0, 4.0, 8192);
    let factor = factors.iter().copied().fold(1.0, f32::max);
    let theta = fields.positive("rope.freq_base")?.unwrap_or(DEFAULT_THETA);
    for (i, &got) in factors.iter().enumerate() {
        let wave = std::f64::consts::TAU * theta.powf(i as f64 / factors.len() as f64);
        let ratio = original_max as f64 / wave;
        let smooth = (ratio - low_freq_factor) / (high_freq_factor - low_freq_factor);
        let smooth = smooth.clamp(0.0, 1.0);
        let expected = 1.0 / ((1.0 - smooth) / f64::from(factor) + smooth);
        if (f64::from(got) / expected - 1.0).abs() > 1e-3 {
            let hint = format!("frequency {i} of Llama 3 scaling would be {expected}");
            return Err(fields.unsupported(ROPE_FACTORS, got, &hint));
        }
    }
    Ok(if factor > 1.0 {
        let factor = f64::from(factor);
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max }
    } else {
        RopeScaling::None
    })
}
