//! `Q8_0`: blocks of an f16 scale and 32 signed codes.

use super::{Codec, decode_blocks, encode_blocks, f16_at, search};
use crate::Encoding;

const BYTES: usize = Encoding::Q8_0.bytes;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q8_0,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

/// With 127 steps on each side the scale that just spans the values is as good as any.
fn encode(values: &[f32; 32], block: &mut [u8; BYTES]) {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let (scale, bytes) = search::stored(largest / 127.0);
    let inverse = search::inverse(scale);
    block[..2].copy_from_slice(&bytes);
    for (code, value) in block[2..].iter_mut().zip(values) {
        *code = search::nearest(inverse * value).clamp(-127.0, 127.0) as i8 as u8;
    }
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 32]) {
    let scale = f16_at(block);
    for (value, code) in values.iter_mut().zip(&block[2..]) {
        *value = scale * f32::from(*code as i8);
    }
}
