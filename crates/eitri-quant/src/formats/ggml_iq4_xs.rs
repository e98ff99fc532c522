//! ggml `IQ4_XS`: blocks of 256 4-bit codes of uneven steps, 8 6-bit scales and an f16 factor, kept as they are.

use eitri_kernels::WeightFormat;

use super::{Format, copy_blocks};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::IQ4_XS, WeightFormat::Iq4Xs, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    copy_blocks::<{ Encoding::IQ4_XS.bytes }>(stored, canonical, &[0])
}
