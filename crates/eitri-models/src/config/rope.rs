//! Rotary embedding settings of `config.json`.

use eitri_kernels::RopeScaling;

use super::{fields::Fields, limits};
use crate::ModelError;

/// Base, scaling and longest context.
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
    pub(super) max_positions: usize,
}

/// The base that transformers assumes.
const DEFAULT_THETA: f64 = 10_000.0;

/// Reads `rope_theta` and `rope_scaling`, or `rope_parameters` as transformers 5 writes them.
/// `max_positions` is `max_position_embeddings`.
pub(super) fn read(config: &Fields<'_>, max_positions: usize) -> Result<Rope, ModelError> {
    let parameters = match config.object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => config.object("rope_scaling")?,
    };
    let mut theta = config.positive("rope_theta")?;
    let mut rope = Rope { theta: DEFAULT_THETA, scaling: RopeScaling::None, max_positions };
    if let Some(parameters) = parameters {
        theta = parameters.positive("rope_theta")?.or(theta);
        rope.scaling = scaling(&parameters, max_positions)?;
        rope.max_positions = longest(rope.scaling, max_positions);
    }
    rope.theta = theta.unwrap_or(DEFAULT_THETA);
    Ok(rope)
}

fn scaling(parameters: &Fields<'_>, max_positions: usize) -> Result<RopeScaling, ModelError> {
    if parameters.has("mrope_section") {
        return Err(parameters.unsupported("mrope_section", "present", "it is for image models"));
    }
    if let Some(factor) = parameters.number("partial_rotary_factor")?
        && factor < 1.0
    {
        return Err(parameters.unsupported("partial_rotary_factor", factor, ""));
    }
    let kind = match parameters.text("rope_type")? {
        Some(kind) => kind,
        None => parameters.text("type")?.unwrap_or("default"),
    };
    let required = |name: &str| {
        let value = parameters.positive(name)?;
        value.ok_or_else(|| parameters.error(name, "a finite number above 0", "nothing"))
    };
    let original = parameters
        .optional_size("original_max_position_embeddings", limits::POSITIONS)?
        .unwrap_or(max_positions);
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: required("factor")? },
        "yarn" => RopeScaling::Yarn {
            factor: required("factor")?,
            original_max: original,
            beta_fast: parameters.positive("beta_fast")?.unwrap_or(32.0),
            beta_slow: parameters.positive("beta_slow")?.unwrap_or(1.0),
            attention_factor: parameters.positive("attention_factor")?,
            mscale: parameters.number("mscale")?,
            mscale_all_dim: parameters.number("mscale_all_dim")?,
            truncate: parameters.flag("truncate")?.unwrap_or(true),
        },
        "llama3" => {
            let (low, high) = (required("low_freq_factor")?, required("high_freq_factor")?);
            if high <= low {
                let expected = format!("above low_freq_factor, {low}");
                return Err(parameters.error("high_freq_factor", &expected, high));
            }
            RopeScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max: original,
            }
        }
        other => {
            let hint = "supported are default, linear, yarn and llama3";
            return Err(parameters.unsupported("rope_type", other, hint));
        }
    })
}

/// Checkpoints state the context of pretraining beside `linear` and `yarn`, as vLLM reads them, but
/// the extended one beside `llama3`.
fn longest(scaling: RopeScaling, max_positions: usize) -> usize {
    let stretched = |length: usize, factor: f64| {
        ((length as f64 * factor) as usize).clamp(1, limits::POSITIONS as usize)
    };
    match scaling {
        RopeScaling::Linear { factor } => stretched(max_positions, factor),
        RopeScaling::Yarn { factor, original_max, .. } => stretched(original_max, factor),
        RopeScaling::None | RopeScaling::Llama3 { .. } => max_positions,
    }
}
