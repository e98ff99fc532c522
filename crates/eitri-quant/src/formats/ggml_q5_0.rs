//! ggml `Q5_0`: blocks of an f16 scale, 32 high bits and 32 low halves of 5-bit codes with zero 16.

use eitri_kernels::WeightFormat;

use super::{Format, finite_f16, five_bit_rows, regroup_nibbles};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q5_0, WeightFormat::U5, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    let (blocks, _) = stored.as_chunks::<{ Encoding::Q5_0.bytes }>();
    let (codes, scales) = five_bit_rows(canonical, blocks.len());
    let outputs = codes.zip(scales.as_chunks_mut::<2>().0);
    let mut finite = true;
    for (block, ((low, high), scale)) in blocks.iter().zip(outputs) {
        let [d0, d1, h0, h1, h2, h3, nibbles @ ..] = block;
        *scale = [*d0, *d1];
        finite &= finite_f16(*scale);
        *high = [*h0, *h1, *h2, *h3];
        regroup_nibbles(nibbles, low);
    }
    finite
}
