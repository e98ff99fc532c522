//! ggml `Q3_K`: blocks of 256 3-bit codes, 16 6-bit scales and an f16 factor, kept as they are.

use eitri_kernels::WeightFormat;

use super::{Format, copy_blocks};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q3_K, WeightFormat::Q3K, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    copy_blocks::<{ Encoding::Q3_K.bytes }>(stored, canonical, &[108])
}
