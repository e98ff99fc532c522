//! AWQ, the `gemm` version of `AutoAWQ`: codes and zeros of 4 bits are packed along n, eight outputs to
//! a word in the order 0 2 4 6 1 3 5 7. `value = (code - zero) * scale`.
//! Source: `WQLinear_GEMM` of `AutoAWQ`.

use eitri_kernels::Codes;

use super::{
    Format,
    grouped::{
        GroupedRows, Grouping, Scales, expect_shape, fill_nibbles, matrix_shape, stored, word,
        words,
    },
};
use crate::{Checkpoint, Matrix, QuantError};

pub(super) static FORMAT: Format = Format::Module(open);

/// Which 4-bit field of a word holds each of its eight outputs.
const FIELDS: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

fn open<'a>(checkpoint: &'a Checkpoint, module: &str) -> Result<Option<Matrix<'a>>, QuantError> {
    let name = |suffix: &str| format!("{module}.{suffix}");
    if !checkpoint.contains(&name("qweight")) {
        return Ok(None);
    }
    let scales = Scales::new(checkpoint.tensor(&name("scales"))?)?;
    let (groups, n) = matrix_shape(&scales.view)?;
    let qweight = words(checkpoint, module, "qweight")?;
    let (k, columns) = matrix_shape(&qweight)?;
    if columns * 8 != n {
        let message = format!(
            "has shape {:?}; for {n} outputs GPTQ has {n} columns and AWQ an eighth of that",
            qweight.shape
        );
        return Err(stored(&qweight, message));
    }
    let qzeros = words(checkpoint, module, "qzeros")?;
    expect_shape(&qzeros, &[groups, columns])?;
    let grouping = Grouping::of_integers(checkpoint, &scales.view, 4, k, groups)?;
    let field = move |word: u32, row: usize| (word >> (4 * FIELDS[row % 8])) as u8 & 15;
    let rows = GroupedRows {
        grouping,
        codes_of: Codes::U4Zero,
        weight: qweight,
        scales,
        codes: move |row: usize, out: &mut [u8]| {
            fill_nibbles(out, |k| field(word(&qweight, k * columns + row / 8), row));
            true
        },
        scale: move |row, group| group * n + row,
        zero: move |row, group| field(word(&qzeros, group * columns + row / 8), row),
    };
    let format = grouping.format(Codes::U4Zero, scales.kind());
    let tensors = vec![qweight, scales.view, qzeros];
    Ok(Some(Matrix::from_rows(
        tensors,
        ("AWQ 4-bit", grouping.scale_group()),
        format,
        [n, k],
        Box::new(rows),
    )))
}
