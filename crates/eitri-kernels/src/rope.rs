//! Rotary position embedding: tables of cosines and sines with the usual context extensions.
//!
//! Frequencies follow `modeling_rope_utils.py` of Hugging Face transformers, rounding to f32 where
//! it does, since checkpoints are trained and compared with its values: at position 30,000 an angle
//! from f32 frequencies differs from the exact one by up to 2e-3.

use std::f64::consts::TAU;

use crate::KernelError;

/// How frequencies are stretched for contexts longer than those of pretraining.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// `linear`: every frequency is divided by `factor`.
    Linear {
        /// Ratio of the new context length to that of pretraining.
        factor: f64,
    },
    /// `yarn` (<https://arxiv.org/abs/2309.00071>): low frequencies are divided by `factor`, high
    /// ones stay, with a ramp in between; cosines and sines are multiplied by the attention factor.
    Yarn {
        /// Ratio of the new context length to that of pretraining. Some versions of transformers
        /// replace the configured value by `max_position_embeddings / original_max`; which one
        /// applies is for the reader of the configuration to decide.
        factor: f64,
        /// `original_max_position_embeddings`.
        original_max: usize,
        /// Rotations over the original context from which a frequency stays; usually 32.
        beta_fast: f64,
        /// Rotations up to which a frequency is divided; usually 1.
        beta_slow: f64,
        /// `attention_factor`; computed from the next two fields or from `factor` when absent.
        attention_factor: Option<f64>,
        /// `mscale`; counts only together with `mscale_all_dim`, and neither being zero.
        mscale: Option<f64>,
        /// `mscale_all_dim`.
        mscale_all_dim: Option<f64>,
        /// Whether the ends of the ramp are rounded outwards to whole dimensions; usually true.
        truncate: bool,
    },
    /// `llama3`: like YaRN with a ramp over wavelengths, and no attention factor.
    Llama3 {
        /// Ratio by which low frequencies are divided.
        factor: f64,
        /// Wavelengths above `original_max / low_freq_factor` are stretched; usually 1.
        low_freq_factor: f64,
        /// Wavelengths below `original_max / high_freq_factor` stay; usually 4.
        high_freq_factor: f64,
        /// `original_max_position_embeddings`.
        original_max: usize,
    },
}

/// Cosines and sines for every position, f32 `[max_positions, head_dim / 2]` each.
///
/// For the rotate-half (`NeoX`) pairing: dimension `i` turns with dimension `i + head_dim / 2`.
pub struct RopeTable {
    /// Per position: `half` cosines, then `half` sines.
    values: Vec<f32>,
    half: usize,
    max_positions: usize,
}

impl std::fmt::Debug for RopeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RopeTable")
            .field("head_dim", &self.head_dim())
            .field("max_positions", &self.max_positions)
            .finish_non_exhaustive()
    }
}

impl RopeTable {
    /// Computes the table for positions `0..max_positions`.
    ///
    /// # Errors
    /// When `head_dim` is odd or zero, or a parameter is not a positive finite number.
    pub fn new(
        head_dim: usize,
        max_positions: usize,
        scaling: &RopeScaling,
        theta: f64,
    ) -> Result<Self, KernelError> {
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(shape("head_dim", "even and above 0", head_dim));
        }
        check(scaling, theta)?;
        let frequencies = inverse_frequencies(head_dim, scaling, theta);
        let factor = attention_factor(scaling);
        let half = head_dim / 2;
        let mut values = Vec::with_capacity(max_positions * head_dim);
        for position in 0..max_positions {
            let angle = |i: usize| f64::from(position as f32 * frequencies[i]);
            // transformers takes the f32 cosine first and scales it in f32 after.
            values.extend((0..half).map(|i| angle(i).cos() as f32 * factor));
            values.extend((0..half).map(|i| angle(i).sin() as f32 * factor));
        }
        Ok(Self { values, half, max_positions })
    }

    /// Bytes of the table, for the memory plan.
    pub fn bytes(head_dim: usize, max_positions: usize) -> usize {
        head_dim * max_positions * size_of::<f32>()
    }

    /// Positions covered.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Dimensions of a head.
    pub fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// Cosines and sines of one position, `head_dim / 2` each. Panics outside the table.
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        self.values[position * 2 * self.half..(position + 1) * 2 * self.half].split_at(self.half)
    }
}

fn shape(what: &'static str, expected: &str, got: impl std::fmt::Display) -> KernelError {
    KernelError::Shape { op: "rope table", what, expected: expected.into(), got: got.to_string() }
}

fn check(scaling: &RopeScaling, theta: f64) -> Result<(), KernelError> {
    let positive = |what, value: f64| {
        if value.is_finite() && value > 0.0 {
            Ok(())
        } else {
            Err(shape(what, "a finite number above 0", value))
        }
    };
    positive("theta", theta)?;
    match *scaling {
        RopeScaling::None => Ok(()),
        RopeScaling::Linear { factor } => positive("factor", factor),
        RopeScaling::Yarn {
            factor, original_max, beta_fast, beta_slow, attention_factor, ..
        } => {
            positive("factor", factor)?;
            positive("original_max", original_max as f64)?;
            positive("beta_fast", beta_fast)?;
            positive("beta_slow", beta_slow)?;
            positive("attention_factor", attention_factor.unwrap_or(1.0))
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max } => {
            positive("factor", factor)?;
            positive("original_max", original_max as f64)?;
            positive("low_freq_factor", low_freq_factor)?;
            positive("high_freq_factor - low_freq_factor", high_freq_factor - low_freq_factor)
        }
    }
}

fn attention_factor(scaling: &RopeScaling) -> f32 {
    let RopeScaling::Yarn { factor, attention_factor, mscale, mscale_all_dim, .. } = *scaling
    else {
        return 1.0;
    };
    let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
    let value = match (attention_factor, mscale, mscale_all_dim) {
        (Some(value), ..) => value,
        (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => scale(m) / scale(all),
        _ => scale(1.0),
    };
    value as f32
}

/// One frequency per pair of dimensions, in radians per position.
fn inverse_frequencies(head_dim: usize, scaling: &RopeScaling, theta: f64) -> Vec<f32> {
    let half = head_dim / 2;
    let wavelength = |i: usize| theta.powf(f64::from((2 * i) as f32 / head_dim as f32)) as f32;
    let base = (0..half).map(|i| 1.0 / wavelength(i));
    match *scaling {
        RopeScaling::None => base.collect(),
        RopeScaling::Linear { factor } => base.map(|f| f / factor as f32).collect(),
        RopeScaling::Yarn { factor, original_max, beta_fast, beta_slow, truncate, .. } => {
            let correction = |rotations: f64| {
                head_dim as f64 * (original_max as f64 / (rotations * TAU)).ln()
                    / (2.0 * theta.ln())
            };
            let (mut low, mut high) = (correction(beta_fast), correction(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            (low, high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
            if low.total_cmp(&high).is_eq() {
                // As in transformers: avoids 0 / 0.
                high += 0.001;
            }
            (0..half)
                .map(|i| {
                    let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    let keep = 1.0 - ramp;
                    let stretched = 1.0 / (factor as f32 * wavelength(i));
                    stretched * (1.0 - keep) + 1.0 / wavelength(i) * keep
                })
                .collect()
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max } => {
            let original = original_max as f64;
            let (longest, shortest) = (original / low_freq_factor, original / high_freq_factor);
            base.map(|f| {
                let wave = TAU as f32 / f;
                if f64::from(wave) > longest {
                    f / factor as f32
                } else if f64::from(wave) < shortest {
                    f
                } else {
                    let smooth = (original_max as f32 / wave - low_freq_factor as f32)
                        / (high_freq_factor - low_freq_factor) as f32;
                    (1.0 - smooth) * f / factor as f32 + smooth * f
                }
            })
            .collect()
        }
    }
}
