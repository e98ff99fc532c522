//! `config.json` of Hugging Face transformers, versions 4 and 5.

use eitri_quant::Encoding;
use serde_json::{Map, Value};

use super::{CheckNames, ModelConfig, MoeConfig, fields::Fields, limits, rope};
use crate::{Architecture, ModelError, registry};

/// Epsilon that transformers assumes.
const DEFAULT_EPS: f64 = 1e-6;

/// Reads and checks a configuration. Unknown fields are ignored, except those that would change
/// what the network computes.
pub(crate) fn from_json(
    file: &str,
    object: &Map<String, Value>,
) -> Result<ModelConfig, ModelError> {
    let fields = Fields::json(file, object);
    let architecture = architecture(&fields)?;
    refuse(&fields)?;
    let hidden_size = fields.size("hidden_size", limits::WIDTH)?;
    let layers = fields.size("num_hidden_layers", limits::LAYERS)?;
    let heads = fields.size("num_attention_heads", limits::HEADS)?;
    let kv_heads = fields.optional_size("num_key_value_heads", limits::HEADS)?.unwrap_or(heads);
    let head_dim = match fields.optional_size("head_dim", limits::HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let expected = format!("given, or num_attention_heads a divisor of {hidden_size}");
            return Err(fields.error("head_dim", &expected, format!("{heads} heads")));
        }
    };
    let rope = rope::read(&fields, fields.size("max_position_embeddings", limits::POSITIONS)?)?;
    let config = ModelConfig {
        architecture,
        hidden_size,
        layers,
        heads,
        kv_heads,
        head_dim,
        intermediate_size: fields.size("intermediate_size", limits::WIDTH)?,
        vocab_size: fields.size("vocab_size", limits::VOCAB)?,
        max_position_embeddings: rope.max_positions,
        rms_norm_eps: fields.positive("rms_norm_eps")?.unwrap_or(DEFAULT_EPS) as f32,
        rope_theta: rope.theta,
        rope_scaling: rope.scaling,
        tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        qk_norm: architecture.qk_norm,
        moe: if architecture.experts { moe(&fields)? } else { None },
        bos_token_id: fields.index("bos_token_id")?,
        eos_token_ids: fields.token_ids("eos_token_id")?,
    };
    config.check(
        file,
        &CheckNames {
            kv_heads: "num_key_value_heads",
            head_dim: "head_dim",
            top_k: "num_experts_per_tok",
        },
    )
}

/// The type of matrices that are not quantised.
pub(crate) fn dense_encoding(
    file: &str,
    object: &Map<String, Value>,
) -> Result<Encoding, ModelError> {
    let fields = Fields::json(file, object);
    // transformers 5 renames the field.
    let name = if fields.has("dtype") { "dtype" } else { "torch_dtype" };
    match fields.text(name)? {
        Some("float32") => Ok(Encoding::F32),
        Some("float16") => Ok(Encoding::F16),
        Some("bfloat16") => Ok(Encoding::BF16),
        other => {
            let got = other.unwrap_or("nothing");
            Err(fields.error(name, "float32, float16 or bfloat16", got))
        }
    }
}

fn architecture(fields: &Fields<'_>) -> Result<&'static Architecture, ModelError> {
    let expected = "a list of one class name";
    let names = fields.json_value("architectures");
    if let Some([Value::String(name)]) = names.and_then(Value::as_array).map(Vec::as_slice) {
        return registry::find(fields.file(), name, |known| known.name);
    }
    let got = names.map_or_else(|| "nothing".to_owned(), Value::to_string);
    Err(fields.error("architectures", expected, got))
}

/// Refuses what would be computed wrongly.
fn refuse(fields: &Fields<'_>) -> Result<(), ModelError> {
    for bias in ["attention_bias", "qkv_bias", "mlp_bias"] {
        if fields.flag(bias)? == Some(true) {
            return Err(fields.unsupported(bias, true, ""));
        }
    }
    if fields.flag("use_sliding_window")? == Some(true) {
        return Err(fields.unsupported("use_sliding_window", true, ""));
    }
    let layer_types = fields.json_value("layer_types").and_then(Value::as_array);
    let other = layer_types.and_then(|kinds| kinds.iter().find(|kind| *kind != "full_attention"));
    if let Some(kind) = other {
        return Err(fields.unsupported("layer_types", kind, "only full_attention is"));
    }
    if let Some(activation) = fields.text("hidden_act")?
        && activation != "silu"
    {
        return Err(fields.unsupported("hidden_act", activation, "only silu is"));
    }
    if let Some(factor) = fields.number("partial_rotary_factor")?
        && factor < 1.0
    {
        return Err(fields.unsupported("partial_rotary_factor", factor, "only 1 is"));
    }
    if fields.number("shared_expert_intermediate_size")?.is_some_and(|width| width > 0.0) {
        return Err(fields.unsupported("shared_expert_intermediate_size", "above 0", ""));
    }
    Ok(())
}

fn moe(fields: &Fields<'_>) -> Result<Option<MoeConfig>, ModelError> {
    // transformers 5 renames the field.
    let name = if fields.has("num_local_experts") { "num_local_experts" } else { "num_experts" };
    let experts = fields.size(name, limits::EXPERTS)?;
    let layers = |value: &Value| {
        let layers = value.as_array()?.iter();
        layers.map(|layer| layer.as_u64().map(|layer| layer as usize)).collect::<Option<Vec<_>>>()
    };
    let mlp_only_layers = match fields.json_value("mlp_only_layers") {
        None => Vec::new(),
        Some(value) => layers(value)
            .ok_or_else(|| fields.error("mlp_only_layers", "a list of layer numbers", value))?,
    };
    Ok(Some(MoeConfig {
        experts,
        top_k: fields.size("num_experts_per_tok", limits::EXPERTS)?,
        intermediate_size: fields.size("moe_intermediate_size", limits::WIDTH)?,
        norm_topk_prob: fields.flag("norm_topk_prob")?.unwrap_or(false),
        decoder_sparse_step: fields
            .optional_size("decoder_sparse_step", limits::LAYERS)?
            .unwrap_or(1),
        mlp_only_layers,
    }))
}
