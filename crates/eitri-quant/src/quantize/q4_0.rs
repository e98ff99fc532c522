//! `Q4_0`: blocks of an f16 scale and 32 4-bit codes with zero 8.

use super::{Codec, decode_blocks, encode_blocks, f16_at, pack_nibbles, search, unpack_nibbles};
use crate::Encoding;

const BYTES: usize = Encoding::Q4_0.bytes;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q4_0,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

fn encode(values: &[f32; 32], block: &mut [u8; BYTES]) {
    let (scale, bytes) = search::stored(search::symmetric(values, &[1.0; 32], 8.0));
    let inverse = search::inverse(scale);
    let code = |value| (search::nearest(inverse * value).clamp(-8.0, 7.0) + 8.0) as u8;
    block[..2].copy_from_slice(&bytes);
    pack_nibbles(&values.map(code), &mut block[2..]);
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 32]) {
    let scale = f16_at(block);
    *values = unpack_nibbles(&block[2..]).map(|code| scale * (f32::from(code) - 8.0));
}
