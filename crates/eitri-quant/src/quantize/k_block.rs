//! What `Q4_K` and `Q5_K` share: 256 values in 8 sub-blocks, each with a scale and a minimum of six
//! bits, which an f16 scale and an f16 minimum of the block stretch.

use super::{
    f16_at,
    search::{self, Affine, Minimum},
};

/// Sub-blocks of a block.
pub(super) const PARTS: usize = 8;
/// Values of a sub-block.
pub(super) const PART: usize = 32;
/// Bytes of scales and minima: two f16, then 8 times two 6-bit numbers.
pub(super) const HEAD: usize = 2 + 2 + 12;
/// The largest 6-bit number.
const LARGEST: f32 = 63.0;

/// Chooses the scales of a block with codes from 0 to `levels`, stores them in `head` and returns
/// the codes.
pub(super) fn encode(values: &[f32; 256], levels: f32, head: &mut [u8]) -> [u8; 256] {
    let (parts, _) = values.as_chunks::<PART>();
    let mut fits = [Affine { scale: 0.0, min: 0.0 }; PARTS];
    for (fit, part) in fits.iter_mut().zip(parts) {
        *fit = search::affine(part, &search::weights(part), levels, Minimum::NotPositive);
    }
    let largest = |number: fn(&Affine) -> f32| fits.iter().map(number).fold(0.0, f32::max);
    let (scale, scale_bytes) = search::stored(largest(|fit| fit.scale) / LARGEST);
    let (min, min_bytes) = search::stored(largest(|fit| -fit.min) / LARGEST);
    head[..2].copy_from_slice(&scale_bytes);
    head[2..4].copy_from_slice(&min_bytes);

    let (mut scales, mut mins, mut codes) = ([0; PARTS], [0; PARTS], [0; 256]);
    for (j, (part, out)) in parts.iter().zip(codes.as_chunks_mut::<PART>().0).enumerate() {
        let (factor, shift) = round(part, fits[j], levels, scale, min);
        (scales[j], mins[j]) = (factor as u8, shift as u8);
        let (inverse, min) = (search::inverse(scale * factor), min * shift);
        *out = part.map(|value| search::nearest(inverse * (value + min)).clamp(0.0, levels) as u8);
    }
    pack(scales, mins, &mut head[4..]);
    codes
}

/// The 6-bit scale and minimum of a sub-block. Rounding each alone is not the best for both
/// together, so their neighbours are tried.
fn round(part: &[f32; PART], fit: Affine, levels: f32, scale: f32, min: f32) -> (f32, f32) {
    let weights = search::weights(part);
    let nearest = |value: f32, step| search::nearest(value * search::inverse(step));
    let (factor, shift) = (nearest(fit.scale, scale), nearest(-fit.min, min));
    let mut best = ((0.0, 0.0), f32::INFINITY);
    for (i, j) in (-1..=1_i8).flat_map(|i| (-1..=1_i8).map(move |j| (i, j))) {
        let factor = (factor + f32::from(i)).clamp(0.0, LARGEST);
        let shift = (shift + f32::from(j)).clamp(0.0, LARGEST);
        let fit = Affine { scale: scale * factor, min: -(min * shift) };
        let error = search::error(part, &weights, fit, (0.0, levels));
        if error < best.1 {
            best = ((factor, shift), error);
        }
    }
    best.0
}

/// Scale and minimum of each sub-block; a value is `scale * code - minimum`.
pub(super) fn decode(head: &[u8]) -> [(f32, f32); PARTS] {
    let (scale, min) = (f16_at(head), f16_at(&head[2..]));
    let packed = &head[4..];
    std::array::from_fn(|j| {
        let (factor, shift) = unpack(packed, j);
        (scale * f32::from(factor), min * f32::from(shift))
    })
}

/// Bytes 0 to 3 hold scales 0 to 3 and bytes 4 to 7 minima 0 to 3; their upper two bits and the
/// nibbles of bytes 8 to 11 hold scales and minima 4 to 7.
fn pack(scales: [u8; PARTS], mins: [u8; PARTS], bytes: &mut [u8]) {
    for j in 0..4 {
        bytes[j] = scales[j] | scales[j + 4] >> 4 << 6;
        bytes[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        bytes[j + 8] = scales[j + 4] & 0x0F | mins[j + 4] << 4;
    }
}

fn unpack(bytes: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        return (bytes[j] & 63, bytes[j + 4] & 63);
    }
    let low = bytes[j + 4];
    (low & 0x0F | bytes[j - 4] >> 6 << 4, low >> 4 | bytes[j] >> 6 << 4)
}
