//! `Q5_1`: blocks of an f16 scale, an f16 minimum, 32 fifth bits and 32 4-bit codes.

use super::{
    Codec, decode_blocks, encode_blocks, f16_at, pack_fifth_bits, pack_nibbles,
    search::{self, Minimum},
    unpack_five_bits,
};
use crate::Encoding;

const BYTES: usize = Encoding::Q5_1.bytes;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q5_1,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

fn encode(values: &[f32; 32], block: &mut [u8; BYTES]) {
    let fit = search::affine(values, &[1.0; 32], 31.0, Minimum::Any);
    let ((scale, scale_bytes), (min, min_bytes)) =
        (search::stored(fit.scale), search::stored(fit.min));
    let inverse = search::inverse(scale);
    let codes = values.map(|value| search::nearest(inverse * (value - min)).clamp(0.0, 31.0) as u8);
    block[..2].copy_from_slice(&scale_bytes);
    block[2..4].copy_from_slice(&min_bytes);
    block[4..8].copy_from_slice(&pack_fifth_bits(&codes));
    pack_nibbles(&codes, &mut block[8..]);
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 32]) {
    let (scale, min) = (f16_at(block), f16_at(&block[2..]));
    let codes = unpack_five_bits([block[4], block[5], block[6], block[7]], &block[8..]);
    *values = codes.map(|code| scale * f32::from(code) + min);
}
