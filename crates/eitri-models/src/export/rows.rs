//! Encoding on several threads, with the error that it makes.

use std::{ops::Range, thread};

use eitri_quant::{Encoding, Matrix, quantize};

use super::report::Squares;
use crate::ModelError;

/// Encodes a vector.
pub(super) fn encode_vector(
    tensor: &str,
    values: &[f32],
    encoding: Encoding,
) -> Result<(Vec<u8>, Squares), ModelError> {
    let mut stored = vec![0; encoding.size(values.len()).unwrap_or(0)];
    let mut decoded = vec![0.0; values.len()];
    let mut squares = Squares::default();
    encode(tensor, values, encoding, &mut stored, &mut decoded, &mut squares)?;
    Ok((stored, squares))
}

/// Encodes these rows, counted over all experts, an equal share on each thread.
pub(super) fn encode_rows(
    tensor: &str,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    encoding: Encoding,
    threads: usize,
) -> Result<(Vec<u8>, Squares), ModelError> {
    let row_bytes = encoding.size(matrix.k()).unwrap_or(0);
    let mut stored = vec![0; rows.len() * row_bytes];
    let share = rows.len().div_ceil(threads.max(1)).max(1);
    let mut squares = Squares::default();
    thread::scope(|scope| {
        let workers: Vec<_> = stored
            .chunks_mut(share * row_bytes)
            .zip(rows.step_by(share))
            .map(|(stored, first)| {
                scope.spawn(move || encode_share(tensor, matrix, first, encoding, stored))
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(outcome) => squares += outcome?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, ModelError>(())
    })?;
    Ok((stored, squares))
}

fn encode_share(
    tensor: &str,
    matrix: &Matrix<'_>,
    first: usize,
    encoding: Encoding,
    stored: &mut [u8],
) -> Result<Squares, ModelError> {
    let (format, k) = (matrix.format(), matrix.k());
    let mut canonical = vec![0; format.row_bytes(k).unwrap_or(0)];
    let (mut values, mut decoded) = (vec![0.0; k], vec![0.0; k]);
    let mut squares = Squares::default();
    for (i, stored) in stored.chunks_exact_mut(encoding.size(k).unwrap_or(1)).enumerate() {
        matrix.rows().row(first + i, &mut canonical)?;
        format.dequantise_row(&canonical, &mut values);
        encode(tensor, &values, encoding, stored, &mut decoded, &mut squares)?;
    }
    Ok(squares)
}

/// Encodes a row, decodes it again and counts the difference.
fn encode(
    tensor: &str,
    values: &[f32],
    encoding: Encoding,
    stored: &mut [u8],
    decoded: &mut [f32],
    squares: &mut Squares,
) -> Result<(), ModelError> {
    quantize::encode(encoding, values, stored)?;
    quantize::decode(encoding, stored, decoded)?;
    for (&value, &decoded) in values.iter().zip(&*decoded) {
        squares.add(value, decoded);
    }
    if squares.errors.is_finite() {
        return Ok(());
    }
    Err(ModelError::TooLarge { tensor: tensor.to_owned(), encoding: encoding.name })
}
