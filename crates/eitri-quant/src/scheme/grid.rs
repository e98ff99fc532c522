//! The values that codes can stand for: a scale for values that lie together, and a zero.

use half::{bf16, f16};

use crate::Encoding;
use eitri_kernels::minifloat::{E2M1_MAX, E4M3_MAX, e2m1, e4m3, to_e2m1, to_e4m3};

/// Inputs that share a scale in NVFP4.
const NV_BLOCK: usize = 16;
/// The least scale of a block that is not all zeros.
const LEAST_E4M3: f32 = 1.0 / 512.0;

/// How values become codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grid {
    /// `(code - zero) * scale` with unsigned codes; without zeros, the zero is half the range.
    Integer {
        /// Of a code.
        bits: u32,
        /// Whether each group has a zero of its own.
        zeros: bool,
        /// Inputs that share a scale; a whole row if none.
        group: Option<usize>,
    },
    /// E4M3 times a scale of a square block, or else of a row.
    Fp8 {
        /// Rows and columns of a block.
        block: Option<usize>,
    },
    /// E2M1 times an E4M3 scale of 16 inputs times a scale of the tensor.
    Nvfp4 {
        /// Whether the tensor's scale is stored as what is divided by.
        divides: bool,
    },
}

/// What codes of one group mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// As it is stored.
    pub(super) scale: f32,
    pub(super) zero: u8,
    /// What values are divided by.
    divisor: f32,
    /// What codes are multiplied by.
    factor: f32,
}

impl Grid {
    /// Rows that share scales.
    pub(super) fn rows(self) -> usize {
        if let Self::Fp8 { block: Some(block) } = self { block } else { 1 }
    }

    /// Inputs that share a scale in a row of `k`.
    pub(super) fn columns(self, k: usize) -> usize {
        match self {
            Self::Integer { group: size, .. } | Self::Fp8 { block: size } => size.unwrap_or(k),
            Self::Nvfp4 { .. } => NV_BLOCK,
        }
    }

    /// Scales of rows and columns in a matrix.
    pub(super) fn scales(self, [n, k]: [usize; 2]) -> [usize; 2] {
        [n.div_ceil(self.rows()), k.div_ceil(self.columns(k))]
    }

    /// The scale of a whole tensor, as it is stored; 1 in grids that have none.
    pub(super) fn tensor_scale(self, largest: f32) -> f32 {
        match self {
            Self::Nvfp4 { .. } if largest == 0.0 => 1.0,
            Self::Nvfp4 { divides: true } => E2M1_MAX * E4M3_MAX / largest,
            Self::Nvfp4 { divides: false } => largest / (E2M1_MAX * E4M3_MAX),
            _ => 1.0,
        }
    }

    /// The step for values in `least..=most`; `tensor` is the scale of the whole tensor.
    pub(super) fn step(self, least: f32, most: f32, tensor: f32, scales: Encoding) -> Step {
        let (least, most) = (least.min(0.0), most.max(0.0));
        let magnitude = most.max(-least);
        match self {
            Self::Integer { bits, zeros: false, .. } => {
                let half = (1 << (bits - 1)) as f32 - 0.5;
                Step::plain(stored(magnitude / half, scales), 1 << (bits - 1))
            }
            Self::Integer { bits, .. } => {
                let last = ((1 << bits) - 1) as f32;
                let wanted = (most - least) / last;
                let scale = stored(wanted, scales);
                // AutoAWQ divides by the scale as it was before it was stored.
                let divisor = if round_to(wanted, scales) == 0.0 { scale } else { wanted };
                let zero = (-(least / divisor).round_ties_even()).clamp(0.0, last);
                Step { divisor, ..Step::plain(scale, zero as u8) }
            }
            Self::Fp8 { .. } => Step::plain(stored(magnitude / E4M3_MAX, scales), 0),
            Self::Nvfp4 { divides } => {
                let wanted = if divides {
                    tensor * (magnitude / E2M1_MAX)
                } else {
                    magnitude / (E2M1_MAX * tensor)
                };
                let scale = if magnitude == 0.0 { 1.0 } else { wanted.max(LEAST_E4M3) };
                let scale = e4m3(to_e4m3(scale));
                if divides {
                    let factor = scale * (1.0 / tensor);
                    Step { scale, zero: 0, divisor: scale / tensor, factor }
                } else {
                    let factor = scale * tensor;
                    Step { scale, zero: 0, divisor: factor, factor }
                }
            }
        }
    }

    /// The step that a stored scale and zero mean.
    pub(super) fn stored_step(self, scale: f32, zero: u8, tensor: f32) -> Step {
        match self {
            Self::Nvfp4 { divides } => {
                let factor = scale * if divides { 1.0 / tensor } else { tensor };
                Step { scale, zero, divisor: factor, factor }
            }
            _ => Step::plain(scale, zero),
        }
    }

    /// The code nearest to a value.
    pub(super) fn code(self, value: f32, step: Step) -> u8 {
        let value = value / step.divisor;
        match self {
            Self::Integer { bits, .. } => {
                let last = ((1 << bits) - 1) as f32;
                (value.round_ties_even() + f32::from(step.zero)).clamp(0.0, last) as u8
            }
            Self::Fp8 { .. } => to_e4m3(value),
            Self::Nvfp4 { .. } => to_e2m1(value),
        }
    }

    /// The value of a code.
    pub(super) fn value(self, code: u8, step: Step) -> f32 {
        let code = match self {
            Self::Integer { .. } => f32::from(code) - f32::from(step.zero),
            Self::Fp8 { .. } => e4m3(code),
            Self::Nvfp4 { .. } => e2m1(code),
        };
        code * step.factor
    }
}

impl Step {
    fn plain(scale: f32, zero: u8) -> Self {
        Self { scale, zero, divisor: scale, factor: scale }
    }
}

/// Rounds a scale to what its type can store. One that vanishes is 1: all codes are zero then.
fn stored(scale: f32, encoding: Encoding) -> f32 {
    let scale = round_to(scale, encoding);
    if scale == 0.0 { 1.0 } else { scale }
}

/// Rounds to a dense type.
pub(super) fn round_to(value: f32, encoding: Encoding) -> f32 {
    match encoding {
        Encoding::F16 => f16::from_f32(value).to_f32(),
        Encoding::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}
