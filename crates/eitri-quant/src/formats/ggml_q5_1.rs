//! ggml `Q5_1`: blocks of an f16 scale, an f16 minimum, 32 high bits and 32 low halves of 5-bit codes.

use eitri_kernels::WeightFormat;

use super::{Format, finite_f16, five_bit_rows, regroup_nibbles};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q5_1, WeightFormat::U5Min, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    let (blocks, _) = stored.as_chunks::<{ Encoding::Q5_1.bytes }>();
    let (codes, tail) = five_bit_rows(canonical, blocks.len());
    let (scales, minima) = tail.split_at_mut(2 * blocks.len());
    let tails = scales.as_chunks_mut::<2>().0.iter_mut().zip(minima.as_chunks_mut::<2>().0);
    let mut finite = true;
    for (block, ((low, high), (scale, minimum))) in blocks.iter().zip(codes.zip(tails)) {
        let [d0, d1, m0, m1, h0, h1, h2, h3, nibbles @ ..] = block;
        (*scale, *minimum) = ([*d0, *d1], [*m0, *m1]);
        finite &= finite_f16(*scale) & finite_f16(*minimum);
        *high = [*h0, *h1, *h2, *h3];
        regroup_nibbles(nibbles, low);
    }
    finite
}
