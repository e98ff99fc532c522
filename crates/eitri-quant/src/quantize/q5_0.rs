//! `Q5_0`: blocks of an f16 scale, 32 fifth bits and 32 4-bit codes; zero is 16.

use super::{
    Codec, decode_blocks, encode_blocks, f16_at, pack_fifth_bits, pack_nibbles, search,
    unpack_five_bits,
};
use crate::Encoding;

const BYTES: usize = Encoding::Q5_0.bytes;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q5_0,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

fn encode(values: &[f32; 32], block: &mut [u8; BYTES]) {
    let (scale, bytes) = search::stored(search::symmetric(values, &[1.0; 32], 16.0));
    let inverse = search::inverse(scale);
    let codes =
        values.map(|value| (search::nearest(inverse * value).clamp(-16.0, 15.0) + 16.0) as u8);
    block[..2].copy_from_slice(&bytes);
    block[2..6].copy_from_slice(&pack_fifth_bits(&codes));
    pack_nibbles(&codes, &mut block[6..]);
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 32]) {
    let scale = f16_at(block);
    let codes = unpack_five_bits([block[2], block[3], block[4], block[5]], &block[6..]);
    *values = codes.map(|code| scale * (f32::from(code) - 16.0));
}
