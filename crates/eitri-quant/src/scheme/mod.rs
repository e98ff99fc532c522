//! Linear modules as the producers of quantised Hugging Face checkpoints store them: the way back
//! from `formats`.
//!
//! A [`Scheme`] is a grid of values, which turns a matrix into [`Codes`] by rounding to the nearest,
//! and a layout, which turns codes into the tensors of a producer. GPTQ ([`Feedback`]) finds better
//! codes on the same grids, and AWQ ([`search_scales`]) better values to round.

mod awq;
mod cholesky;
mod codes;
mod config;
mod gptq;
mod grid;
mod layout;
mod product;

pub use awq::{ScaleSearch, search_scales};
pub use codes::Codes;
pub use config::Unquantised;
pub use gptq::{Feedback, Hessian};
pub use layout::StoredTensor;

use crate::{Encoding, QuantError};
use grid::Grid;
use layout::Layout;

/// A way of storing linear modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Its name, as in `fp8-block`.
    pub name: &'static str,
    /// What [`Matrix::stored`](crate::Matrix::stored) calls it.
    pub stored: &'static str,
    /// What activations of the model itself can do for it.
    pub calibration: Calibration,
    grid: Grid,
    layout: Layout,
}

/// How a scheme uses the inputs that its modules have in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calibration {
    /// Not at all.
    None,
    /// The largest input of each module is stored, so that activations can be quantised too.
    InputScale,
    /// Errors of rounding are made up for in the inputs that remain (GPTQ).
    ErrorFeedback,
    /// Inputs that matter more are scaled up before rounding (AWQ).
    ScaleSearch,
}

/// Inputs that share a scale in grouped schemes unless another size is asked for.
const GROUP: Option<usize> = Some(128);

/// Sizes of groups that programs which read these formats have kernels for.
const GROUPS: [usize; 3] = [32, 64, 128];

/// All schemes, from the most exact to the smallest.
pub static SCHEMES: [Scheme; 9] = [
    Scheme {
        name: "w8a16",
        stored: "int8 packed",
        calibration: Calibration::ErrorFeedback,
        grid: Grid::Integer { bits: 8, zeros: false, group: None },
        layout: Layout::PackQuantized,
    },
    Scheme {
        name: "gptq-int8",
        stored: "GPTQ 8-bit",
        calibration: Calibration::ErrorFeedback,
        grid: Grid::Integer { bits: 8, zeros: false, group: GROUP },
        layout: Layout::Gptq,
    },
    Scheme {
        name: "fp8-dynamic",
        stored: "FP8",
        calibration: Calibration::None,
        grid: Grid::Fp8 { block: None },
        layout: Layout::FloatQuantized,
    },
    Scheme {
        name: "fp8-block",
        stored: "FP8",
        calibration: Calibration::None,
        grid: Grid::Fp8 { block: Some(128) },
        layout: Layout::BlockFp8,
    },
    Scheme {
        name: "awq-int4",
        stored: "AWQ 4-bit",
        calibration: Calibration::ScaleSearch,
        grid: Grid::Integer { bits: 4, zeros: true, group: GROUP },
        layout: Layout::Awq,
    },
    Scheme {
        name: "gptq-int4",
        stored: "GPTQ 4-bit",
        calibration: Calibration::ErrorFeedback,
        grid: Grid::Integer { bits: 4, zeros: false, group: GROUP },
        layout: Layout::Gptq,
    },
    Scheme {
        name: "w4a16",
        stored: "int4 packed",
        calibration: Calibration::ErrorFeedback,
        grid: Grid::Integer { bits: 4, zeros: false, group: GROUP },
        layout: Layout::PackQuantized,
    },
    Scheme {
        name: "nvfp4",
        stored: "NVFP4",
        calibration: Calibration::InputScale,
        grid: Grid::Nvfp4 { divides: false },
        layout: Layout::ModelOpt,
    },
    Scheme {
        name: "nvfp4-ct",
        stored: "NVFP4",
        calibration: Calibration::InputScale,
        grid: Grid::Nvfp4 { divides: true },
        layout: Layout::Nvfp4Pack,
    },
];

impl Scheme {
    /// The scheme of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SCHEMES.iter().find(|scheme| scheme.name == name)
    }

    /// The same with a scale for every `size` inputs.
    ///
    /// # Errors
    /// [`QuantError::GroupSize`] where the format has other groups, or not of this size.
    pub fn with_group(mut self, size: usize) -> Result<Self, QuantError> {
        match &mut self.grid {
            Grid::Integer { group, .. } if GROUPS.contains(&size) => *group = Some(size),
            _ => return Err(QuantError::GroupSize { scheme: self.name, size, sizes: GROUPS }),
        }
        Ok(self)
    }

    /// The type of its scales in a model whose matrices are stored as `source` (F32, F16 or BF16).
    pub fn scale_encoding(&self, source: Encoding) -> Encoding {
        match self.layout {
            // Their kernels know no other.
            Layout::Gptq | Layout::Awq => Encoding::F16,
            Layout::ModelOpt | Layout::Nvfp4Pack => Encoding::F8_E4M3,
            Layout::BlockFp8 | Layout::FloatQuantized | Layout::PackQuantized => source,
        }
    }

    /// Whether all modules that see the same input share one scale of the whole tensor, which a
    /// fused product needs.
    pub fn shares_tensor_scale(&self) -> bool {
        matches!(self.grid, Grid::Nvfp4 { .. })
    }

    /// Fails unless a module `[n, k]` can be stored this way.
    ///
    /// # Errors
    /// [`QuantError::NotPackable`].
    pub fn check(&self, module: &str, [n, k]: [usize; 2]) -> Result<(), QuantError> {
        let (rows, columns) = self.layout.multiples(self.grid);
        if n.is_multiple_of(rows) && k.is_multiple_of(columns) && n > 0 && k > 0 {
            return Ok(());
        }
        Err(QuantError::NotPackable {
            module: module.to_owned(),
            scheme: self.name,
            shape: [n, k],
            multiples: [rows, columns],
        })
    }

    /// Rounds the values of a matrix `[n, k]` to the nearest codes. `largest` is the largest
    /// magnitude of all matrices that share a scale of the whole tensor; scales are rounded to
    /// `scales`, the type that stores them. A scale that is too large for it becomes infinite, and
    /// so do values that are decoded with it.
    ///
    /// # Panics
    /// When `values` is not `n * k` long, or the shape is one that [`Self::check`] refuses.
    pub fn round(
        &self,
        values: &[f32],
        shape: [usize; 2],
        largest: f32,
        scales: Encoding,
        threads: usize,
    ) -> Codes {
        Codes::round(self.grid, values, shape, largest, scales, threads)
    }

    /// As [`Self::round`] for values whose inputs have these [second moments](Hessian): each error
    /// is made up for in the inputs that remain (see [`Feedback`]).
    ///
    /// # Errors
    /// When the scheme has no [`Calibration::ErrorFeedback`] or the tensor library fails.
    pub fn round_with_feedback(
        &self,
        values: &[f32],
        shape: [usize; 2],
        feedback: &Feedback,
        scales: Encoding,
        threads: usize,
    ) -> Result<Codes, QuantError> {
        gptq::round(self.grid, values, shape, feedback, scales, threads)
    }

    /// The tensors of a module `[n, k]`, without data. `has_inputs` is whether scales of
    /// activations are stored.
    pub fn tensors(
        &self,
        shape: [usize; 2],
        scales: Encoding,
        has_inputs: bool,
    ) -> Vec<(&'static str, Encoding, Vec<usize>)> {
        self.layout.tensors(self.grid, shape, scales, has_inputs)
    }

    /// The tensors of a module, in the order of [`Self::tensors`]. `largest_input` is the largest
    /// magnitude of its inputs, for scales of activations.
    pub fn store(&self, codes: &Codes, largest_input: Option<f32>) -> Vec<StoredTensor> {
        self.layout.store(codes, largest_input)
    }
}

#[cfg(test)]
mod tests;
