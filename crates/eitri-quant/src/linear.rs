//! A matrix product as a model sees it: one weight, or several side by side.

use candle_core::Tensor;
use eitri_kernels::{Context, KernelError, Weight, ops};

use crate::{Matrix, QuantError};

/// `y = x W^T` where the rows of W may be stored in several ways.
///
/// Neighbouring parts of one format are packed together, so that queries, keys and values are one
/// product; a part of another format (K-quant mixes have them) becomes a product of its own.
#[derive(Debug)]
pub struct Linear {
    parts: Vec<(Weight, usize)>,
    n: usize,
}

impl Linear {
    /// Packs the rows of all `parts`, in order.
    ///
    /// # Errors
    /// When a value is not finite or memory is short.
    pub fn load(ctx: &Context, parts: Vec<Matrix<'_>>) -> Result<Self, QuantError> {
        let mut linear = Self { parts: Vec::new(), n: 0 };
        for matrix in Self::fuse(parts)? {
            let weight = Self::pack(ctx, &matrix)?;
            let offset = linear.n;
            linear.n += weight.n();
            linear.parts.push((weight, offset));
        }
        Ok(linear)
    }

    /// Joins neighbours that can be packed together; what [`Self::load`] packs.
    ///
    /// # Errors
    /// None that callers can cause; see [`Matrix::concat_rows`].
    pub fn fuse(parts: Vec<Matrix<'_>>) -> Result<Vec<Matrix<'_>>, QuantError> {
        let mut groups: Vec<Vec<Matrix<'_>>> = Vec::new();
        for part in parts {
            match groups.last_mut() {
                Some(group) if group[0].fits(&part) => group.push(part),
                _ => groups.push(vec![part]),
            }
        }
        groups.into_iter().map(Matrix::concat_rows).collect()
    }

    /// Packs one matrix.
    ///
    /// # Errors
    /// When a value is not finite or the shape does not fit the format.
    pub fn pack(ctx: &Context, matrix: &Matrix<'_>) -> Result<Weight, QuantError> {
        let (format, n, k) = (matrix.format(), matrix.n(), matrix.k());
        let weight = Weight::pack(ctx, format, n, k, matrix.experts(), matrix.rows())?;
        match matrix.input_order() {
            Some(order) => Ok(weight.with_input_order(order.clone())?),
            None => Ok(weight),
        }
    }

    /// A product with one weight that is already packed, such as tied embeddings.
    pub fn from_weight(weight: Weight) -> Self {
        let n = weight.n();
        Self { parts: vec![(weight, 0)], n }
    }

    /// Columns of the result.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The packed weights.
    pub fn weights(&self) -> impl Iterator<Item = &Weight> {
        self.parts.iter().map(|(weight, _)| weight)
    }

    /// The first `rows` rows of `x` f32 `[max, K]` into those of `y` f32 `[max, N]`.
    ///
    /// # Errors
    /// When a shape or type does not fit.
    pub fn forward(
        &self,
        ctx: &Context,
        x: &Tensor,
        rows: usize,
        y: &Tensor,
    ) -> Result<(), KernelError> {
        for (weight, offset) in &self.parts {
            ops::linear(ctx, weight, x, rows, y, *offset)?;
        }
        Ok(())
    }

    /// The rows of `x` that `row_ids` names, in that order, into the first rows of `y`.
    ///
    /// # Errors
    /// When a shape or type does not fit, or the weight has several parts.
    pub fn forward_rows(
        &self,
        ctx: &Context,
        x: &Tensor,
        row_ids: &[u32],
        y: &Tensor,
    ) -> Result<(), KernelError> {
        match &*self.parts {
            [(weight, _)] => ops::linear_rows(ctx, weight, x, row_ids, y),
            parts => Err(KernelError::Unsupported {
                op: "linear_rows",
                what: format!("a weight of {} parts", parts.len()),
            }),
        }
    }
}
