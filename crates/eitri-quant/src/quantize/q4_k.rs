//! `Q4_K`: blocks of 256 values with the scales of `k_block` and 4-bit codes.

use super::{
    Codec, decode_blocks, encode_blocks,
    k_block::{self, HEAD, PART},
};
use crate::Encoding;

const BYTES: usize = Encoding::Q4_K.bytes;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q4_K,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

fn encode(values: &[f32; 256], block: &mut [u8; BYTES]) {
    let (head, nibbles) = block.split_at_mut(HEAD);
    let codes = k_block::encode(values, 15.0, head);
    pack_pairs(&codes, nibbles);
}

/// Two sub-blocks share 32 bytes: the first has the low nibbles, the second the high ones.
pub(super) fn pack_pairs(codes: &[u8; 256], nibbles: &mut [u8]) {
    let pairs = codes.as_chunks::<{ 2 * PART }>().0.iter().zip(nibbles.chunks_exact_mut(PART));
    for (pair, bytes) in pairs {
        let (low, high) = pair.split_at(PART);
        for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
            *byte = low & 0x0F | high << 4;
        }
    }
}

/// The inverse of [`pack_pairs`].
pub(super) fn unpack_pairs(nibbles: &[u8]) -> [u8; 256] {
    std::array::from_fn(|i| {
        let byte = nibbles[i / (2 * PART) * PART + i % PART];
        if (i / PART).is_multiple_of(2) { byte & 0x0F } else { byte >> 4 }
    })
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 256]) {
    let (head, nibbles) = block.split_at(HEAD);
    let scales = k_block::decode(head);
    let codes = unpack_pairs(nibbles);
    for (i, value) in values.iter_mut().enumerate() {
        let (scale, min) = scales[i / PART];
        *value = scale * f32::from(codes[i]) - min;
    }
}
