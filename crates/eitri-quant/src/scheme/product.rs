//! Matrix products of plain slices.

use candle_core::{Device, Tensor};

use crate::QuantError;

/// `a [m, k]` times `b [k, n]`, row after row.
pub(super) fn product(a: &[f32], b: &[f32], [m, k, n]: [usize; 3]) -> Result<Vec<f32>, QuantError> {
    let a = Tensor::from_slice(a, (m, k), &Device::Cpu)?;
    let b = Tensor::from_slice(b, (k, n), &Device::Cpu)?;
    Ok(a.matmul(&b)?.flatten_all()?.to_vec1()?)
}

/// `a [m, k]` times the transpose of `b [n, k]`, row after row.
pub(super) fn product_transposed(
    a: &[f32],
    b: &[f32],
    [m, k, n]: [usize; 3],
) -> Result<Vec<f32>, QuantError> {
    let a = Tensor::from_slice(a, (m, k), &Device::Cpu)?;
    let b = Tensor::from_slice(b, (n, k), &Device::Cpu)?;
    Ok(a.matmul(&b.t()?)?.flatten_all()?.to_vec1()?)
}

/// The transpose of `x [rows, k]` times `x`.
pub(super) fn second_moments(x: &[f32], k: usize) -> Result<Vec<f32>, QuantError> {
    let x = Tensor::from_slice(x, (x.len() / k, k), &Device::Cpu)?;
    Ok(x.t()?.matmul(&x)?.flatten_all()?.to_vec1()?)
}

/// The part `rows x columns` of a matrix whose rows are `width` long.
pub(super) fn part(
    matrix: &[f32],
    width: usize,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> Vec<f32> {
    rows.flat_map(|row| &matrix[row * width + columns.start..row * width + columns.end])
        .copied()
        .collect()
}
