//! FP4: E2M1 codes, two to a byte with the even k in the low nibble. NVFP4 has an E4M3 scale per 16
//! and an f32 scale of the tensor, which `ModelOpt` multiplies (`weight_scale_2`) and
//! compressed-tensors divides by (`weight_global_scale`). MXFP4 has a power of two per 32.
//! Source: `NVFP4QTensor` of `ModelOpt`; `nvfp4-pack-quantized` and `mxfp4-pack-quantized` of
//! compressed-tensors.

use eitri_kernels::{KernelError, RowSource, WeightFormat};

use super::{
    Format, ggml_mxfp4,
    grouped::{ACTIVATION_SCALES, expect_shape, matrix_shape, not_finite, pass_over, stored},
};
use crate::{Checkpoint, Encoding, Matrix, QuantError, ScaleGroup, TensorView};

pub(super) static FORMAT: Format = Format::Module(open);

/// Codes that share a scale in NVFP4.
pub(super) const NV_BLOCK: usize = 16;
/// How such matrices are called and scaled.
pub(super) const NVFP4: (&str, ScaleGroup) = ("NVFP4", ScaleGroup::Inputs(NV_BLOCK));
/// Codes that share a scale in MXFP4.
const MX_BLOCK: usize = 32;

fn open<'a>(checkpoint: &'a Checkpoint, module: &str) -> Result<Option<Matrix<'a>>, QuantError> {
    let name = |suffix: &str| format!("{module}.{suffix}");
    let codes = ["weight_packed", "weight"].map(name).into_iter().find(|n| checkpoint.contains(n));
    let Some(codes) = codes else { return Ok(None) };
    let weight = checkpoint.tensor(&codes)?;
    if weight.encoding != Encoding::U8 || !checkpoint.contains(&name("weight_scale")) {
        return Ok(None);
    }
    let (n, bytes) = matrix_shape(&weight)?;
    let k = 2 * bytes;
    let scales = checkpoint.tensor(&name("weight_scale"))?;
    pass_over(checkpoint, module, &ACTIVATION_SCALES);
    if scales.encoding == Encoding::F8_E4M3 {
        return nvfp4(checkpoint, module, [weight, scales], [n, k]).map(Some);
    }
    mxfp4([weight, scales], [n, k]).map(Some)
}

fn mxfp4(
    [weight, scales]: [TensorView<'_>; 2],
    [n, k]: [usize; 2],
) -> Result<Matrix<'_>, QuantError> {
    expect_shape(&scales, &[n, k.div_ceil(MX_BLOCK)])?;
    if !matches!(scales.encoding, Encoding::U8 | Encoding::F8_E8M0) {
        let got = scales.encoding.name;
        return Err(stored(&scales, format!("must be U8 or F8_E8M0 (powers of two), got {got}")));
    }
    whole_groups(&weight, k)?;
    let rows = Mxfp4Rows { weight, scales };
    let tensors = vec![weight, scales];
    let stored = ("MXFP4", ScaleGroup::Inputs(MX_BLOCK));
    Ok(Matrix::from_rows(tensors, stored, WeightFormat::Mxfp4, [n, k], Box::new(rows)))
}

struct Mxfp4Rows<'a> {
    weight: TensorView<'a>,
    scales: TensorView<'a>,
}

impl RowSource for Mxfp4Rows<'_> {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        let blocks = self.scales.shape[1];
        let (codes, exponents) = out.split_at_mut(blocks * MX_BLOCK / 2);
        let bytes = codes.len();
        codes.copy_from_slice(&self.weight.bytes[row * bytes..(row + 1) * bytes]);
        exponents.copy_from_slice(&self.scales.bytes[row * blocks..(row + 1) * blocks]);
        if exponents.iter().any(|&exponent| exponent > ggml_mxfp4::LARGEST) {
            return Err(not_finite(&self.scales, row));
        }
        Ok(())
    }
}

/// Fails unless rows of `k` codes fill groups of 32.
fn whole_groups(weight: &TensorView<'_>, k: usize) -> Result<(), QuantError> {
    if k.is_multiple_of(MX_BLOCK) {
        return Ok(());
    }
    Err(stored(weight, format!("has rows of {k} codes; they must be multiples of 32")))
}

fn nvfp4<'a>(
    checkpoint: &'a Checkpoint,
    module: &str,
    [weight, scales]: [TensorView<'a>; 2],
    [n, k]: [usize; 2],
) -> Result<Matrix<'a>, QuantError> {
    expect_shape(&scales, &[n, k / NV_BLOCK])?;
    whole_groups(&weight, k)?;
    let names = ["weight_scale_2", "weight_global_scale"].map(|end| format!("{module}.{end}"));
    let Some(name) = names.iter().find(|name| checkpoint.contains(name)) else {
        return Err(stored(
            &scales,
            format!("is E4M3, but neither {} exists", names.join(" nor ")),
        ));
    };
    let whole = checkpoint.tensor(name)?;
    let (&[bytes], Encoding::F32) = (whole.bytes.as_chunks::<4>().0, whole.encoding) else {
        let (got, shape) = (whole.encoding.name, whole.shape);
        return Err(stored(&whole, format!("must be one F32, got {got} of shape {shape:?}")));
    };
    let factor = f32::from_le_bytes(bytes);
    let factor = if *name == names[0] { factor } else { 1.0 / factor };
    if !factor.is_finite() {
        return Err(stored(
            &whole,
            format!("is {}, which no weight can be scaled by", f32::from_le_bytes(bytes)),
        ));
    }
    let rows = Nvfp4Rows { weight, scales, factor, k };
    let tensors = vec![weight, scales, whole];
    Ok(Matrix::from_rows(tensors, NVFP4, WeightFormat::Nvfp4, [n, k], Box::new(rows)))
}

struct Nvfp4Rows<'a> {
    weight: TensorView<'a>,
    scales: TensorView<'a>,
    factor: f32,
    k: usize,
}

impl RowSource for Nvfp4Rows<'_> {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        let (codes, rest) = out.split_at_mut(self.k / 2);
        let (scales, whole) = rest.split_at_mut(self.k / NV_BLOCK);
        let (code_bytes, scale_bytes) = (codes.len(), scales.len());
        codes.copy_from_slice(&self.weight.bytes[row * code_bytes..(row + 1) * code_bytes]);
        scales.copy_from_slice(&self.scales.bytes[row * scale_bytes..(row + 1) * scale_bytes]);
        whole.copy_from_slice(&self.factor.to_le_bytes());
        if scales.iter().any(|scale| scale & 0x7F == 0x7F) {
            return Err(not_finite(&self.scales, row));
        }
        Ok(())
    }
}
