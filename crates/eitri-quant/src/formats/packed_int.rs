//! `pack-quantized` of compressed-tensors: offset-binary codes of 4 or 8 bits in 32-bit words, the
//! lowest bits first along k; zeros are packed the same way along n. `value = (code - zero) * scale`
//! with the zero in the middle of the range where there is none.
//! Source: `pack_to_int32` of compressed-tensors.

use super::{
    Format,
    grouped::{
        ACTIVATION_SCALES, GroupedRows, Grouping, Scales, expect_shape, fill_nibbles, input_order,
        integers, matrix_shape, optional_words, pass_over, stored, word, words,
    },
};
use crate::{Checkpoint, Encoding, Matrix, QuantError, TensorView};

pub(super) static FORMAT: Format = Format::Module(open);

fn open<'a>(checkpoint: &'a Checkpoint, module: &str) -> Result<Option<Matrix<'a>>, QuantError> {
    let name = |suffix: &str| format!("{module}.{suffix}");
    if !checkpoint.contains(&name("weight_packed"))
        || checkpoint.tensor(&name("weight_packed"))?.encoding != Encoding::I32
    {
        return Ok(None);
    }
    let packed = words(checkpoint, module, "weight_packed")?;
    let scales = Scales::new(checkpoint.tensor(&name("weight_scale"))?)?;
    let (n, packed_words) = matrix_shape(&packed)?;
    let groups = match *scales.view.shape {
        [rows, groups] if rows == n && groups > 0 => groups,
        ref shape => {
            return Err(stored(
                &scales.view,
                format!("must have shape [{n}, groups], got {shape:?}"),
            ));
        }
    };
    let zeros = optional_words(checkpoint, module, "weight_zero_point")?;
    let (bits, k) = width(checkpoint, module, &packed, zeros.as_ref(), groups)?;
    let grouping = Grouping::of_integers(checkpoint, &scales.view, bits, k, groups)?;
    if let Some(zeros) = &zeros {
        expect_shape(zeros, &[(n * bits).div_ceil(32), groups])?;
    }
    let g_idx = optional_words(checkpoint, module, "weight_g_idx")?;
    let order = input_order(g_idx.as_ref(), k, grouping.stored(), groups)?;
    pass_over(checkpoint, module, &ACTIVATION_SCALES);
    let codes_of = integers(bits, zeros.is_some());
    let row_bytes = 4 * packed_words;
    let columns = order.clone();
    let rows = GroupedRows {
        grouping,
        codes_of,
        weight: packed,
        scales,
        codes: move |row: usize, out: &mut [u8]| {
            let stored = &packed.bytes[row * row_bytes..(row + 1) * row_bytes];
            match (&columns, bits) {
                (None, 4) => out.copy_from_slice(&stored[..k / 2]),
                (Some(order), 4) => fill_nibbles(out, |j| {
                    let k = order[j] as usize;
                    stored[k / 2] >> (4 * (k % 2)) & 15
                }),
                (None, _) => {
                    out.iter_mut().zip(stored).for_each(|(out, code)| *out = code ^ 0x80);
                }
                (Some(order), _) => {
                    out.iter_mut().zip(&**order).for_each(|(out, &k)| {
                        *out = stored[k as usize] ^ 0x80;
                    });
                }
            }
            true
        },
        scale: move |row, group| row * groups + group,
        zero: move |row, group| {
            let per_word = 32 / bits;
            let field = |zeros: TensorView<'_>| {
                let word = word(&zeros, row / per_word * groups + group);
                let field = word >> (bits * (row % per_word));
                if bits == 4 { field as u8 & 15 } else { field as u8 ^ 0x80 }
            };
            zeros.map_or(0, field)
        },
    };
    let format = grouping.format(codes_of, scales.kind());
    let tensors = [packed, scales.view].into_iter().chain(zeros).chain(g_idx).collect();
    let kind = (stored_name(bits), grouping.scale_group());
    let matrix = Matrix::from_rows(tensors, kind, format, [n, k], Box::new(rows));
    Ok(Some(matrix.with_input_order(order)))
}

/// How matrices of this width are called.
pub(super) fn stored_name(bits: usize) -> &'static str {
    if bits == 4 { "int4 packed" } else { "int8 packed" }
}

/// Bits of a code and inputs: from `weight_shape`, or where it is absent from what is declared or
/// else from the zeros, which are packed along the rows.
fn width(
    checkpoint: &Checkpoint,
    module: &str,
    packed: &TensorView<'_>,
    zeros: Option<&TensorView<'_>>,
    groups: usize,
) -> Result<(usize, usize), QuantError> {
    let (n, packed_words) = matrix_shape(packed)?;
    let name = format!("{module}.weight_shape");
    if checkpoint.contains(&name) {
        let shape = checkpoint.tensor(&name)?;
        expect_shape(&shape, &[2])?;
        let sizes = match shape.encoding {
            Encoding::I32 => [0, 1].map(|i| u64::from(word(&shape, i))),
            Encoding::I64 => {
                [0, 2].map(|i| u64::from(word(&shape, i)) | u64::from(word(&shape, i + 1)) << 32)
            }
            other => return Err(stored(&shape, format!("must be I64 or I32, got {}", other.name))),
        };
        let k = sizes[1] as usize;
        let bits = [4, 8].into_iter().find(|bits| k > 0 && k.div_ceil(32 / bits) == packed_words);
        return match bits {
            Some(bits) if sizes[0] == n as u64 => Ok((bits, k)),
            _ => Err(stored(
                packed,
                format!(
                    "has {n} rows of {packed_words} words, which does not hold {sizes:?} codes of \
                     4 or 8 bits; other widths are not supported"
                ),
            )),
        };
    }
    let fits = |bits: &usize| match (checkpoint.quantization(), zeros) {
        (Some(config), _) => config.group_size(*bits, packed_words * 32 / bits, groups).is_ok(),
        (None, Some(zeros)) => zeros.shape == [(n * bits).div_ceil(32), groups],
        (None, None) => false,
    };
    if checkpoint.quantization().is_none() && zeros.is_none() {
        return Err(stored(packed, format!("needs {name} or a quantization_config")));
    }
    match [4, 8].into_iter().find(fits) {
        Some(bits) => Ok((bits, packed_words * 32 / bits)),
        None => Err(stored(packed, format!("has {groups} groups of a declared size at no width"))),
    }
}
