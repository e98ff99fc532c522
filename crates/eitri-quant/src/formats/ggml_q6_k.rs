//! ggml `Q6_K`: blocks of 256 6-bit codes, 16 i8 scales and an f16 scale, kept as they are.

use eitri_kernels::WeightFormat;

use super::{Format, copy_blocks};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q6_K, WeightFormat::Q6K, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    copy_blocks::<{ Encoding::Q6_K.bytes }>(stored, canonical, &[208])
}
