//! `Q4_1`: blocks of an f16 scale, an f16 minimum and 32 4-bit codes.

use super::{
    Codec, decode_blocks, encode_blocks, f16_at, pack_nibbles,
    search::{self, Minimum},
    unpack_nibbles,
};
use crate::Encoding;

const BYTES: usize = Encoding::Q4_1.bytes;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q4_1,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

fn encode(values: &[f32; 32], block: &mut [u8; BYTES]) {
    let fit = search::affine(values, &[1.0; 32], 15.0, Minimum::Any);
    let ((scale, scale_bytes), (min, min_bytes)) =
        (search::stored(fit.scale), search::stored(fit.min));
    let inverse = search::inverse(scale);
    let code = |value| search::nearest(inverse * (value - min)).clamp(0.0, 15.0) as u8;
    block[..2].copy_from_slice(&scale_bytes);
    block[2..4].copy_from_slice(&min_bytes);
    pack_nibbles(&values.map(code), &mut block[4..]);
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 32]) {
    let (scale, min) = (f16_at(block), f16_at(&block[2..]));
    *values = unpack_nibbles(&block[4..]).map(|code| scale * f32::from(code) + min);
}
