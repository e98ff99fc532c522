//! ggml `MXFP4`: blocks of a power of two (e8m0) and 32 e2m1 codes.

use eitri_kernels::WeightFormat;

use super::{Format, regroup_nibbles};
use crate::Encoding;

pub(super) static FORMAT: Format = Format::Tensor(&[(Encoding::MXFP4, WeightFormat::Mxfp4, row)]);

/// The largest exponent with which every code, up to 6, is a finite f32; 255 is NaN by definition.
pub(super) const LARGEST: u8 = 252;

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    let (blocks, _) = stored.as_chunks::<{ Encoding::MXFP4.bytes }>();
    let (codes, exponents) = canonical.split_at_mut(16 * blocks.len());
    let outputs = codes.as_chunks_mut::<16>().0.iter_mut().zip(exponents);
    let mut finite = true;
    for ([exponent, nibbles @ ..], (codes, to)) in blocks.iter().zip(outputs) {
        *to = *exponent;
        finite &= *exponent <= LARGEST;
        regroup_nibbles(nibbles, codes);
        // ggml has no minus zero: its values are integers.
        for byte in codes {
            *byte &= if *byte & 0x0F == 8 { 0xF0 } else { 0xFF };
            *byte &= if *byte >> 4 == 8 { 0x0F } else { 0xFF };
        }
    }
    finite
}
