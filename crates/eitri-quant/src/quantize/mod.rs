//! Encoding rows for GGUF files: f32 values to blocks, and blocks back to values.
//!
//! One file per format. Blocks and their meaning are those of ggml (`ggml-common.h`); how codes and
//! scales are chosen is described in `search`.

mod dense;
mod k_block;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod search;

use crate::{Encoding, QuantError};

/// A format in both directions. Rows are whole blocks; lengths were checked.
struct Codec {
    encoding: Encoding,
    encode: fn(values: &[f32], stored: &mut [u8]),
    decode: fn(stored: &[u8], values: &mut [f32]),
}

static CODECS: [&Codec; 11] = [
    &dense::F32,
    &dense::F16,
    &dense::BF16,
    &q8_0::CODEC,
    &q4_0::CODEC,
    &q4_1::CODEC,
    &q5_0::CODEC,
    &q5_1::CODEC,
    &q4_k::CODEC,
    &q5_k::CODEC,
    &q6_k::CODEC,
];

/// All types that [`encode`] and [`decode`] know.
pub fn encodings() -> impl Iterator<Item = Encoding> {
    CODECS.iter().map(|codec| codec.encoding)
}

/// Stores finite values in as many bytes as [`Encoding::size`] says. Values that are too large for
/// the scales of the format come out as infinite; [`decode`] shows them.
///
/// # Errors
/// When the type is only read, or `stored` has another size.
pub fn encode(encoding: Encoding, values: &[f32], stored: &mut [u8]) -> Result<(), QuantError> {
    let codec = find(encoding, values.len(), stored.len())?;
    (codec.encode)(values, stored);
    Ok(())
}

/// The values of stored rows, in f32 arithmetic as ggml does it.
///
/// # Errors
/// When the type is not one of [`encodings`], or `stored` has another size.
pub fn decode(encoding: Encoding, stored: &[u8], values: &mut [f32]) -> Result<(), QuantError> {
    let codec = find(encoding, values.len(), stored.len())?;
    (codec.decode)(stored, values);
    Ok(())
}

fn find(encoding: Encoding, values: usize, bytes: usize) -> Result<&'static Codec, QuantError> {
    let Some(codec) = CODECS.iter().find(|codec| codec.encoding == encoding) else {
        let known = encodings().map(|known| known.name).collect::<Vec<_>>().join(", ");
        return Err(QuantError::NotEncodable { encoding: encoding.name, known });
    };
    if encoding.size(values) != Some(bytes) {
        return Err(QuantError::RowLength { encoding: encoding.name, values, bytes });
    }
    Ok(codec)
}

/// Applies `encode` block by block.
fn encode_blocks<const N: usize, const BYTES: usize>(
    values: &[f32],
    stored: &mut [u8],
    encode: impl Fn(&[f32; N], &mut [u8; BYTES]),
) {
    let blocks = stored.as_chunks_mut().0;
    values.as_chunks().0.iter().zip(blocks).for_each(|(values, block)| encode(values, block));
}

/// Applies `decode` block by block.
fn decode_blocks<const N: usize, const BYTES: usize>(
    stored: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; N]),
) {
    let outputs = values.as_chunks_mut().0;
    stored.as_chunks().0.iter().zip(outputs).for_each(|(block, values)| decode(block, values));
}

/// Puts codes `j` and `j + 16` into byte `j`; bits above the fourth are for the caller.
fn pack_nibbles(codes: &[u8; 32], bytes: &mut [u8]) {
    let (low, high) = codes.split_at(16);
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = low & 0x0F | high << 4;
    }
}

/// The inverse of [`pack_nibbles`].
fn unpack_nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 0x0F } else { bytes[i - 16] >> 4 })
}

/// The fifth bit of each of 32 codes.
fn pack_fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    let bits = codes.iter().enumerate().map(|(i, &code)| u32::from(code >> 4 & 1) << i);
    bits.fold(0, |all, bit| all | bit).to_le_bytes()
}

/// Codes of five bits.
fn unpack_five_bits(fifth: [u8; 4], nibbles: &[u8]) -> [u8; 32] {
    let (bits, codes) = (u32::from_le_bytes(fifth), unpack_nibbles(nibbles));
    std::array::from_fn(|i| codes[i] | ((bits >> i & 1) as u8) << 4)
}

/// The little-endian f16 at the start of `bytes`.
fn f16_at(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

#[cfg(test)]
mod tests;
