//! ggml `Q8_0`: blocks of an f16 scale and 32 signed codes.

use eitri_kernels::WeightFormat;

use super::{Format, codes_and_scales, finite_f16};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q8_0, WeightFormat::I8, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    let (blocks, _) = stored.as_chunks::<{ Encoding::Q8_0.bytes }>();
    let (codes, scales) = codes_and_scales(canonical, blocks.len(), 1);
    let outputs = codes.as_chunks_mut::<32>().0.iter_mut().zip(scales.as_chunks_mut::<2>().0);
    let mut finite = true;
    for (block, (codes, scale)) in blocks.iter().zip(outputs) {
        *scale = [block[0], block[1]];
        finite &= finite_f16(*scale);
        codes.copy_from_slice(&block[2..]);
    }
    finite
}
