//! ggml `Q4_0`: blocks of an f16 scale and 32 4-bit codes with zero 8.

use eitri_kernels::WeightFormat;

use super::{Format, codes_and_scales, finite_f16, regroup_nibbles};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q4_0, WeightFormat::U4, row)]);

pub(super) fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    let (blocks, _) = stored.as_chunks::<{ Encoding::Q4_0.bytes }>();
    let (codes, scales) = codes_and_scales(canonical, blocks.len(), 1);
    let outputs = codes.as_chunks_mut::<16>().0.iter_mut().zip(scales.as_chunks_mut::<2>().0);
    let mut finite = true;
    for ([low, high, stored @ ..], (codes, scale)) in blocks.iter().zip(outputs) {
        *scale = [*low, *high];
        finite &= finite_f16(*scale);
        regroup_nibbles(stored, codes);
    }
    finite
}
