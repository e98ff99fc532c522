//! One file per way of storing a weight matrix. Tensors decide: a module is in the format whose
//! tensors it has, whatever the configuration says.

mod awq;
mod declared;
mod dense;
mod fp4;
mod fp8;
mod ggml_iq4_nl;
mod ggml_iq4_xs;
mod ggml_mxfp4;
mod ggml_q2_k;
mod ggml_q3_k;
mod ggml_q4_0;
mod ggml_q4_1;
mod ggml_q4_k;
mod ggml_q5_0;
mod ggml_q5_1;
mod ggml_q5_k;
mod ggml_q6_k;
mod ggml_q8_0;
mod gptq;
mod grouped;
mod int8;
mod packed_int;

use eitri_kernels::WeightFormat;

use crate::{Checkpoint, Encoding, Matrix, QuantError, matrix::ConvertRow};

/// A way of storing matrices.
enum Format {
    /// One tensor: the types of it, each with its canonical form.
    Tensor(&'static [TensorType]),
    /// Several tensors: gives the matrix of a module, or `None` if it is not stored this way.
    Module(for<'a> fn(&'a Checkpoint, module: &str) -> Result<Option<Matrix<'a>>, QuantError>),
}

type TensorType = (Encoding, WeightFormat, ConvertRow);

/// All formats.
static FORMATS: &[&Format] = &[
    &dense::FORMAT,
    &ggml_q8_0::FORMAT,
    &ggml_q4_0::FORMAT,
    &ggml_q4_1::FORMAT,
    &ggml_q5_0::FORMAT,
    &ggml_q5_1::FORMAT,
    &ggml_q2_k::FORMAT,
    &ggml_q3_k::FORMAT,
    &ggml_q4_k::FORMAT,
    &ggml_q5_k::FORMAT,
    &ggml_q6_k::FORMAT,
    &ggml_iq4_nl::FORMAT,
    &ggml_iq4_xs::FORMAT,
    &ggml_mxfp4::FORMAT,
    &fp8::FORMAT,
    &packed_int::FORMAT,
    &gptq::FORMAT,
    &awq::FORMAT,
    &int8::FORMAT,
    &fp4::FORMAT,
];

/// Tensors beside a weight that change what it means and that no format knows.
const UNSUPPORTED: [(&str, &str); 2] = [
    ("pre_quant_scale", "scales of inputs; AWQ checkpoints of AutoAWQ have them folded in"),
    ("svdquant_lora_a", "low-rank corrections; plain NVFP4 checkpoints have none"),
];

/// The matrix of a module, by the first format that recognises it.
pub(crate) fn open<'a>(checkpoint: &'a Checkpoint, module: &str) -> Result<Matrix<'a>, QuantError> {
    for (suffix, nearest) in UNSUPPORTED {
        let name = format!("{module}.{suffix}");
        if checkpoint.contains(&name) {
            let view = checkpoint.tensor(&name)?;
            return Err(grouped::stored(&view, format!("is not supported: {nearest}")));
        }
    }
    for format in FORMATS {
        let found = match format {
            Format::Tensor(types) => open_tensor(checkpoint, module, types)?,
            Format::Module(open) => open(checkpoint, module)?,
        };
        if let Some(matrix) = found {
            return Ok(matrix);
        }
    }
    let view = checkpoint.tensor(&weight_name(checkpoint, module))?;
    let known = tensor_types().map(|(encoding, ..)| encoding.name).collect::<Vec<_>>().join(", ");
    Err(QuantError::Format {
        file: view.file.to_owned(),
        tensor: view.name.to_owned(),
        encoding: view.encoding.name,
        known,
    })
}

fn tensor_types() -> impl Iterator<Item = &'static TensorType> {
    FORMATS.iter().flat_map(|format| match format {
        Format::Tensor(types) => *types,
        Format::Module(_) => &[],
    })
}

/// The canonical form of a matrix that is one tensor of this type; `None` if no format reads it.
pub(crate) fn canonical(encoding: Encoding) -> Option<WeightFormat> {
    tensor_types().find(|(known, ..)| *known == encoding).map(|&(_, format, _)| format)
}

/// Fused experts of Hugging Face checkpoints are named without `.weight`.
fn weight_name(checkpoint: &Checkpoint, module: &str) -> String {
    if checkpoint.contains(module) { module.to_owned() } else { format!("{module}.weight") }
}

/// Opens a module that is one tensor of one of these types.
fn open_tensor<'a>(
    checkpoint: &'a Checkpoint,
    module: &str,
    known: &[TensorType],
) -> Result<Option<Matrix<'a>>, QuantError> {
    let name = weight_name(checkpoint, module);
    if !checkpoint.contains(&name) {
        return Ok(None);
    }
    let tensor = checkpoint.tensor(&name)?;
    let Some(&(_, format, convert)) = known.iter().find(|(type_, ..)| *type_ == tensor.encoding)
    else {
        return Ok(None);
    };
    for codes in ["qweight", "weight_packed"].map(|suffix| format!("{module}.{suffix}")) {
        if checkpoint.contains(&codes) {
            let message = format!("stands beside {codes}: which of both counts is unknown");
            return Err(grouped::stored(&tensor, message));
        }
    }
    Matrix::from_tensor(tensor, format, convert).map(Some)
}

/// Whether the little-endian f16 at the start of `bytes` is neither NaN nor infinite.
fn finite_f16(bytes: [u8; 2]) -> bool {
    bytes[1] & 0x7C != 0x7C
}

/// Splits `canonical` into codes and `streams` equally long tails of one f16 per block.
fn codes_and_scales(canonical: &mut [u8], blocks: usize, streams: usize) -> (&mut [u8], &mut [u8]) {
    let codes = canonical.len() - 2 * blocks * streams;
    canonical.split_at_mut(codes)
}

/// Splits a canonical row of 5-bit codes into low halves and high bits of each block, and the rest.
fn five_bit_rows(
    canonical: &mut [u8],
    blocks: usize,
) -> (impl Iterator<Item = (&mut [u8; 16], &mut [u8; 4])>, &mut [u8]) {
    let (low, rest) = canonical.split_at_mut(16 * blocks);
    let (high, rest) = rest.split_at_mut(4 * blocks);
    (low.as_chunks_mut().0.iter_mut().zip(high.as_chunks_mut().0), rest)
}

/// Copies blocks of 256 as they are; `false` when an f16 at one of these places is not finite.
fn copy_blocks<const BYTES: usize>(stored: &[u8], canonical: &mut [u8], factors: &[usize]) -> bool {
    canonical.copy_from_slice(stored);
    let finite =
        |block: &[u8; BYTES]| factors.iter().all(|&at| finite_f16([block[at], block[at + 1]]));
    stored.as_chunks().0.iter().all(finite)
}

/// ggml's 4-bit blocks hold value `j` and `j + 16` in a byte; canonical are `2 j` and `2 j + 1`.
fn regroup_nibbles(stored: &[u8; 16], canonical: &mut [u8]) {
    let (low, high) = canonical.split_at_mut(8);
    let (pairs, _) = stored.as_chunks::<2>();
    for ((pair, low), high) in pairs.iter().zip(low).zip(high) {
        *low = pair[0] & 0x0F | pair[1] << 4;
        *high = pair[0] >> 4 | pair[1] & 0xF0;
    }
}

#[cfg(test)]
mod tests;
