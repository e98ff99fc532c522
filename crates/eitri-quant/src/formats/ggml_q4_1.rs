//! ggml `Q4_1`: blocks of an f16 scale, an f16 minimum and 32 4-bit codes.

use eitri_kernels::WeightFormat;

use super::{Format, codes_and_scales, finite_f16, regroup_nibbles};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::Q4_1, WeightFormat::U4Min, row)]);

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    let (blocks, _) = stored.as_chunks::<{ Encoding::Q4_1.bytes }>();
    let (codes, tail) = codes_and_scales(canonical, blocks.len(), 2);
    let (scales, minima) = tail.split_at_mut(2 * blocks.len());
    let tails = scales.as_chunks_mut::<2>().0.iter_mut().zip(minima.as_chunks_mut::<2>().0);
    let outputs = codes.as_chunks_mut::<16>().0.iter_mut().zip(tails);
    let mut finite = true;
    for ([d0, d1, m0, m1, stored @ ..], (codes, (scale, minimum))) in blocks.iter().zip(outputs) {
        (*scale, *minimum) = ([*d0, *d1], [*m0, *m1]);
        finite &= finite_f16(*scale) & finite_f16(*minimum);
        regroup_nibbles(stored, codes);
    }
    finite
}
