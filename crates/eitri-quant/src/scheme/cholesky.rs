//! `A = R R^T` with `R` upper triangular, of a symmetric positive definite matrix.
//!
//! This is Cholesky's factorisation with the order of rows reversed. For the inverse that GPTQ's
//! authors factorise it gives `A^-1 = U^T U` with `U = R^-1`, so that no inverse is needed.

use super::product::{part, product_transposed};
use crate::QuantError;

/// Rows and columns that are worked on together.
const BLOCK: usize = 128;

/// Replaces the upper triangle of `a [k, k]` by that of `R`; the lower one is undefined then.
/// `false` when `a` is not positive definite.
pub(super) fn factorise(a: &mut [f32], k: usize) -> Result<bool, QuantError> {
    for start in (0..k).step_by(BLOCK).rev() {
        let end = k.min(start + BLOCK);
        let width = end - start;
        if end < k {
            // The columns behind are done: take away what they explain.
            let above = part(a, k, 0..end, end..k);
            let own = part(a, k, start..end, end..k);
            let explained = product_transposed(&above, &own, [end, k - end, width])?;
            for (row, explained) in explained.chunks_exact(width).enumerate() {
                let row = &mut a[row * k + start..row * k + end];
                row.iter_mut().zip(explained).for_each(|(value, explained)| *value -= explained);
            }
        }
        if !factorise_block(a, k, start, end) {
            return Ok(false);
        }
        solve_above(a, k, start, end);
    }
    Ok(true)
}

/// The triangle on the diagonal, from its last column to its first.
fn factorise_block(a: &mut [f32], k: usize, start: usize, end: usize) -> bool {
    for j in (start..end).rev() {
        let mut diagonal = f64::from(a[j * k + j]);
        for i in j + 1..end {
            diagonal -= f64::from(a[j * k + i]).powi(2);
        }
        if diagonal.is_nan() || diagonal <= 0.0 {
            return false;
        }
        let diagonal = diagonal.sqrt();
        a[j * k + j] = diagonal as f32;
        for row in start..j {
            let sum: f64 =
                (j + 1..end).map(|i| f64::from(a[row * k + i]) * f64::from(a[j * k + i])).sum();
            a[row * k + j] = ((f64::from(a[row * k + j]) - sum) / diagonal) as f32;
        }
    }
    true
}

/// The rows above the triangle: `X R^T = P` from the last column to the first.
fn solve_above(a: &mut [f32], k: usize, start: usize, end: usize) {
    let (above, triangle) = a.split_at_mut(start * k);
    for row in above.chunks_exact_mut(k) {
        let row = &mut row[start..end];
        for j in (start..end).rev() {
            let factors = &triangle[(j - start) * k + start..(j - start) * k + end];
            let at = j - start;
            let sum: f32 = row[at + 1..].iter().zip(&factors[at + 1..]).map(|(x, r)| x * r).sum();
            row[at] = (row[at] - sum) / factors[at];
        }
    }
}
