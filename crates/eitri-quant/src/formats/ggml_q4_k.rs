//! ggml `Q4_K`: blocks of 256 4-bit codes, 8 6-bit scales and minima, and an f16 factor of each, kept as they are.

use eitri_kernels::WeightFormat;

use super::{Format, copy_blocks};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q4_K, WeightFormat::Q4K, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    copy_blocks::<{ Encoding::Q4_K.bytes }>(stored, canonical, &[0, 2])
}
