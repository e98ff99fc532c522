//! ggml `Q2_K`: blocks of 256 2-bit codes, 16 4-bit scales and minima, and an f16 factor of each, kept as they are.

use eitri_kernels::WeightFormat;

use super::{Format, copy_blocks};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q2_K, WeightFormat::Q2K, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    copy_blocks::<{ Encoding::Q2_K.bytes }>(stored, canonical, &[80, 82])
}
