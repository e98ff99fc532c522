//! `Q6_K`: blocks of 256 6-bit codes with zero 32, in 16 sub-blocks with i8 scales, and an f16
//! scale.

use super::{
    Codec, decode_blocks, encode_blocks, f16_at,
    search::{self, Affine},
};
use crate::Encoding;

const BYTES: usize = Encoding::Q6_K.bytes;
/// Values of a sub-block.
const PART: usize = 16;
/// Low nibbles, then upper pairs of bits, then scales, then the f16.
const UPPER: usize = 128;
const SCALES: usize = 192;
const SCALE: usize = 208;

pub(super) static CODEC: Codec = Codec {
    encoding: Encoding::Q6_K,
    encode: |values, stored| encode_blocks(values, stored, encode),
    decode: |stored, values| decode_blocks(stored, values, decode),
};

fn encode(values: &[f32; 256], block: &mut [u8; BYTES]) {
    let (parts, _) = values.as_chunks::<PART>();
    let mut scales = [0.0_f32; 16];
    for (scale, part) in scales.iter_mut().zip(parts) {
        *scale = search::symmetric(part, &search::weights(part), 32.0);
    }
    // The scale of largest magnitude gets the factor -128, which has no positive counterpart.
    let larger = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    let extreme = scales.iter().copied().fold(0.0, larger);
    let (scale, bytes) = search::stored(extreme / -128.0);
    block.fill(0);
    block[SCALE..].copy_from_slice(&bytes);
    for (j, part) in parts.iter().enumerate() {
        let factor = round(part, scales[j], scale);
        block[SCALES + j] = factor as i8 as u8;
        let inverse = search::inverse(scale * factor);
        for (i, value) in part.iter().enumerate() {
            let code = search::nearest(inverse * value).clamp(-32.0, 31.0) + 32.0;
            put(block, PART * j + i, code as u8);
        }
    }
}

/// The i8 factor of a sub-block; the neighbours of the nearest may fit better.
fn round(part: &[f32; PART], wanted: f32, scale: f32) -> f32 {
    let weights = search::weights(part);
    let nearest = search::nearest(wanted * search::inverse(scale));
    let mut best = (0.0, f32::INFINITY);
    for step in -1..=1_i8 {
        let factor = (nearest + f32::from(step)).clamp(-128.0, 127.0);
        let fit = Affine { scale: scale * factor, min: 0.0 };
        let error = search::error(part, &weights, fit, (-32.0, 31.0));
        if error < best.1 {
            best = (factor, error);
        }
    }
    best.0
}

/// Where value `i` lies: a byte and shift for its low nibble, and a byte and shift for its upper
/// bits. Each half of a block has 64 bytes of nibbles and 32 of upper bits.
fn place(i: usize) -> ((usize, usize), (usize, usize)) {
    let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
    let low = (64 * half + 32 * (quarter % 2) + l, 4 * (quarter / 2));
    let upper = (UPPER + 32 * half + l, 2 * quarter);
    (low, upper)
}

fn put(block: &mut [u8; BYTES], i: usize, code: u8) {
    let ((low, low_shift), (upper, upper_shift)) = place(i);
    block[low] |= (code & 0x0F) << low_shift;
    block[upper] |= (code >> 4) << upper_shift;
}

fn decode(block: &[u8; BYTES], values: &mut [f32; 256]) {
    let scale = f16_at(&block[SCALE..]);
    for (i, value) in values.iter_mut().enumerate() {
        let ((low, low_shift), (upper, upper_shift)) = place(i);
        let code = block[low] >> low_shift & 0x0F | (block[upper] >> upper_shift & 3) << 4;
        let factor = f32::from(block[SCALES + i / PART] as i8);
        *value = scale * factor * (f32::from(code) - 32.0);
    }
}
