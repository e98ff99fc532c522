//! Signed 8-bit codes as they are (`int-quantized` of compressed-tensors, W8A8): a scale for each row
//! or the whole tensor, and perhaps a zero. `value = (code - zero) * scale`.

use eitri_kernels::Codes;

use super::{
    Format,
    grouped::{
        ACTIVATION_SCALES, GroupedRows, Grouping, Scales, expect_shape, matrix_shape, pass_over,
        stored,
    },
};
use crate::{Checkpoint, Encoding, Matrix, QuantError, ScaleGroup};

pub(super) static FORMAT: Format = Format::Module(open);

fn open<'a>(checkpoint: &'a Checkpoint, module: &str) -> Result<Option<Matrix<'a>>, QuantError> {
    let name = format!("{module}.weight");
    if !checkpoint.contains(&name) {
        return Ok(None);
    }
    let weight = checkpoint.tensor(&name)?;
    if weight.encoding != Encoding::I8 {
        return Ok(None);
    }
    let (n, k) = matrix_shape(&weight)?;
    let scales = Scales::new(checkpoint.tensor(&format!("{module}.weight_scale"))?)?;
    let per_tensor = scales.view.shape.iter().product::<usize>() == 1;
    if !per_tensor && !matches!(*scales.view.shape, [rows] | [rows, 1] if rows == n) {
        let message = format!("must have shape [{n}, 1] or [1], got {:?}", scales.view.shape);
        return Err(stored(&scales.view, message));
    }
    let zero_name = format!("{module}.weight_zero_point");
    let zeros = if checkpoint.contains(&zero_name) {
        let zeros = checkpoint.tensor(&zero_name)?;
        if zeros.encoding != Encoding::I8 {
            return Err(stored(&zeros, format!("must be I8, got {}", zeros.encoding.name)));
        }
        expect_shape(&zeros, scales.view.shape)?;
        Some(zeros)
    } else {
        None
    };
    pass_over(checkpoint, module, &ACTIVATION_SCALES);
    pass_over(checkpoint, module, &["input_zero_point"]);
    let grouping = Grouping::new(&scales.view, k, k)?;
    let codes_of = if zeros.is_some() { Codes::I8Zero } else { Codes::I8 };
    let scales_of = if per_tensor { ScaleGroup::Tensor } else { ScaleGroup::Row };
    let index = move |row| if per_tensor { 0 } else { row };
    let rows = GroupedRows {
        grouping,
        codes_of,
        weight,
        scales,
        codes: move |row: usize, out: &mut [u8]| {
            out.copy_from_slice(&weight.bytes[row * k..(row + 1) * k]);
            true
        },
        scale: move |row, _| index(row),
        zero: move |row, _| zeros.map_or(0, |zeros| zeros.bytes[index(row)]),
    };
    let format = grouping.format(codes_of, scales.kind());
    let tensors = [weight, scales.view].into_iter().chain(zeros).collect();
    Ok(Some(Matrix::from_rows(tensors, ("int8", scales_of), format, [n, k], Box::new(rows))))
}
