//! `Q5_K`: blocks of 256 values with the scales of `k_block`, fifth bits and 4-bit codes.

use super::{
    Codec, decode_blocks, encode_blocks,
    k_block::{self, HEAD, PART},
    q4_k::{pack_pairs, unpack_pairs},
};
use crate::Encoding;

const BYTES: usize = Encoding::Q5_K.bytes;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q5_K,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

/// Bit `s` of fifth byte `l` belongs to value `l` of sub-block `s`.
fn encode(values: &[f32; 256], block: &mut [u8; BYTES]) {
    let (head, tail) = block.split_at_mut(HEAD);
    let (fifth, nibbles) = tail.split_at_mut(PART);
    let codes = k_block::encode(values, 31.0, head);
    fifth.fill(0);
    for (i, code) in codes.iter().enumerate() {
        fifth[i % PART] |= (code >> 4) << (i / PART);
    }
    pack_pairs(&codes, nibbles);
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 256]) {
    let (head, tail) = block.split_at(HEAD);
    let (fifth, nibbles) = tail.split_at(PART);
    let scales = k_block::decode(head);
    let codes = unpack_pairs(nibbles);
    for (i, value) in values.iter_mut().enumerate() {
        let (scale, min) = scales[i / PART];
        let code = codes[i] | (fifth[i % PART] >> (i / PART) & 1) << 4;
        *value = scale * f32::from(code) - min;
    }
}
