//! Unquantised matrices, kept in their stored width.

use eitri_kernels::WeightFormat;

use super::Format;
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[
    (Encoding::F32, WeightFormat::F32, f32_row),
    (Encoding::F16, WeightFormat::F16, f16_row),
    (Encoding::BF16, WeightFormat::Bf16, bf16_row),
]);

fn f32_row(stored: &[u8], canonical: &mut [u8]) -> bool {
    canonical.copy_from_slice(stored);
    let (values, _) = stored.as_chunks::<4>();
    let exponent = |&value| u32::from_le_bytes(value) & 0x7F80_0000;
    !values.iter().fold(false, |bad, value| bad | (exponent(value) == 0x7F80_0000))
}

fn f16_row(stored: &[u8], canonical: &mut [u8]) -> bool {
    copy_half(stored, canonical, 0x7C00)
}

fn bf16_row(stored: &[u8], canonical: &mut [u8]) -> bool {
    copy_half(stored, canonical, 0x7F80)
}

/// An exponent of all ones is NaN or infinity. The fold has no early exit, so that it vectorises.
fn copy_half(stored: &[u8], canonical: &mut [u8], exponent: u16) -> bool {
    canonical.copy_from_slice(stored);
    let (values, _) = stored.as_chunks::<2>();
    let bad = |&value| u16::from_le_bytes(value) & exponent == exponent;
    !values.iter().fold(false, |any, value| any | bad(value))
}
