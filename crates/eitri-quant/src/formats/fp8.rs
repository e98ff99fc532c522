//! FP8: E4M3 codes times a scale for each block (Qwen, `DeepSeek`, compressed-tensors, `ModelOpt`'s
//! `FP8_PB_WO`), each row or the whole tensor (compressed-tensors, `ModelOpt`). `weight_scale_inv` is
//! multiplied too, whatever its name says. Scales of activations are not needed: they stay f32.
//! Source: `Fp8LinearMethod` of vLLM; `float-quantized` of compressed-tensors.

use eitri_kernels::Codes;

use super::{
    Format,
    grouped::{ACTIVATION_SCALES, GroupedRows, Grouping, Scales, matrix_shape, pass_over, stored},
};
use crate::{Checkpoint, Encoding, Matrix, QuantError, QuantizationConfig, ScaleGroup, TensorView};

pub(super) static FORMAT: Format = Format::Module(open);

/// How such matrices are called.
pub(super) const FP8: &str = "FP8";
const SCALES: [&str; 2] = ["weight_scale_inv", "weight_scale"];

/// Rows and columns of a block of equal scale, and how the file shows it.
type Blocks = ([usize; 2], ScaleGroup);

fn open<'a>(checkpoint: &'a Checkpoint, module: &str) -> Result<Option<Matrix<'a>>, QuantError> {
    let name = format!("{module}.weight");
    if !checkpoint.contains(&name) {
        return Ok(None);
    }
    let weight = checkpoint.tensor(&name)?;
    if weight.encoding != Encoding::F8_E4M3 {
        return Ok(None);
    }
    let (n, k) = matrix_shape(&weight)?;
    let names = SCALES.map(|suffix| format!("{module}.{suffix}"));
    let Some(scale_name) = names.iter().find(|name| checkpoint.contains(name)) else {
        return Err(stored(
            &weight,
            format!("is F8_E4M3, but neither {} exists", names.join(" nor ")),
        ));
    };
    let scales = Scales::new(checkpoint.tensor(scale_name)?)?;
    let declared = checkpoint.quantization().map_or([128, 128], QuantizationConfig::block);
    let ([block_n, block_k], kind) = blocks(&scales.view, [n, k], declared)?;
    let grouping = Grouping::new(&scales.view, k, block_k)?;
    pass_over(checkpoint, module, &ACTIVATION_SCALES);
    let per_row = k.div_ceil(block_k);
    let rows = GroupedRows {
        grouping,
        codes_of: Codes::E4m3,
        weight,
        scales,
        codes: move |row: usize, out: &mut [u8]| {
            out.copy_from_slice(&weight.bytes[row * k..(row + 1) * k]);
            // No early exit, so that it vectorises.
            out.iter().filter(|&code| code & 0x7F == 0x7F).count() == 0
        },
        scale: move |row: usize, group| row / block_n * per_row + group,
        zero: |_, _| 0,
    };
    let format = grouping.format(Codes::E4m3, scales.kind());
    Ok(Some(Matrix::from_rows(
        vec![weight, scales.view],
        (FP8, kind),
        format,
        [n, k],
        Box::new(rows),
    )))
}

fn blocks(
    scales: &TensorView<'_>,
    [n, k]: [usize; 2],
    declared: [usize; 2],
) -> Result<Blocks, QuantError> {
    let inverse = scales.name.ends_with("_inv");
    let blocks = [n.div_ceil(declared[0]), k.div_ceil(declared[1])];
    match *scales.shape {
        [] | [1] | [1, 1] if !inverse => Ok(([n, k], ScaleGroup::Tensor)),
        [rows] | [rows, 1] if !inverse && rows == n => Ok(([1, k], ScaleGroup::Row)),
        [a, b] | [a, 1, b, 1] if [a, b] == blocks => {
            Ok((declared, ScaleGroup::Block(declared[0], declared[1])))
        }
        ref shape => {
            let [a, b] = blocks;
            let [block_n, block_k] = declared;
            let blocks = format!("[{a}, {b}] (blocks of {block_n} x {block_k})");
            let others =
                if inverse { String::new() } else { format!(", [{n}, 1] (rows) or [1] (tensor)") };
            Err(stored(scales, format!("must have shape {blocks}{others}, got {shape:?}")))
        }
    }
}
