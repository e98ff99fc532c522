//! Round-to-nearest quantisers for ggml blocks and their definitions, written from the format.

use half::f16;

use super::k_blocks;

/// A ggml type as the test writer needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
}

impl Block {
    pub(crate) const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Mxfp4,
    ];

    /// Number of the type in a file.
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 30,
            Self::Q8_0 => 8,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Iq4Nl => 20,
            Self::Iq4Xs => 23,
            Self::Mxfp4 => 39,
        }
    }

    /// Stored bytes, and the values that they stand for.
    pub(crate) fn quantise(self, values: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let (mut bytes, mut meant) = (Vec::new(), Vec::new());
        let length = match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Iq4Xs => 256,
            _ => 32,
        };
        values.chunks(length).for_each(|x| self.block(x, &mut bytes, &mut meant));
        (bytes, meant)
    }

    fn block(self, x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
        match self {
            Self::F32 => {
                bytes.extend(x[0].to_le_bytes());
                meant.push(x[0]);
            }
            Self::F16 => {
                bytes.extend(f16::from_f32(x[0]).to_le_bytes());
                meant.push(f16::from_f32(x[0]).to_f32());
            }
            Self::Bf16 => {
                bytes.extend(half::bf16::from_f32(x[0]).to_le_bytes());
                meant.push(half::bf16::from_f32(x[0]).to_f32());
            }
            Self::Q8_0 => q8_0(x, bytes, meant),
            Self::Q4_0 => q4_0(x, bytes, meant),
            Self::Q4_1 => q4_1(x, bytes, meant),
            Self::Q5_0 => q5_0(x, bytes, meant),
            Self::Q5_1 => q5_1(x, bytes, meant),
            Self::Q2K => k_blocks::q2_k(x, bytes, meant),
            Self::Q3K => k_blocks::q3_k(x, bytes, meant),
            Self::Q4K => k_blocks::q4_k(x, false, bytes, meant),
            Self::Q5K => k_blocks::q4_k(x, true, bytes, meant),
            Self::Q6K => q6_k(x, bytes, meant),
            Self::Iq4Nl => k_blocks::iq4_nl(x, bytes, meant),
            Self::Iq4Xs => k_blocks::iq4_xs(x, bytes, meant),
            Self::Mxfp4 => k_blocks::mxfp4(x, bytes, meant),
        }
    }
}

pub(super) fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// Scale rounded as stored, and its bytes.
pub(super) fn scale(value: f32) -> (f32, [u8; 2]) {
    let stored = f16::from_f32(value);
    (stored.to_f32(), stored.to_le_bytes())
}

pub(super) fn code(value: f32, scale: f32, least: i32, most: i32) -> i32 {
    if scale == 0.0 { 0 } else { ((value / scale).round() as i32).clamp(least, most) }
}

fn q8_0(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let (d, stored) = scale(largest(x) / 127.0);
    bytes.extend(stored);
    for &value in x {
        let q = code(value, d, -127, 127);
        bytes.push(q as i8 as u8);
        meant.push(d * q as f32);
    }
}

/// The low four bits of codes: value `j` in the low and `j + 16` in the high nibble of byte `j`.
pub(super) fn nibbles(codes: &[i32], bytes: &mut Vec<u8>) {
    bytes.extend((0..16).map(|j| (codes[j] & 15 | (codes[j + 16] & 15) << 4) as u8));
}

fn q4_0(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let (d, stored) = scale(largest(x) / 8.0);
    bytes.extend(stored);
    let codes: Vec<i32> = x.iter().map(|&value| code(value, d, -8, 7) + 8).collect();
    nibbles(&codes, bytes);
    meant.extend(codes.iter().map(|&q| d * (q - 8) as f32));
}

fn q4_1(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let least = x.iter().copied().fold(f32::INFINITY, f32::min);
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let ((d, d_stored), (m, m_stored)) = (scale((most - least) / 15.0), scale(least));
    bytes.extend(d_stored);
    bytes.extend(m_stored);
    let codes: Vec<i32> = x.iter().map(|&value| code(value - m, d, 0, 15)).collect();
    nibbles(&codes, bytes);
    meant.extend(codes.iter().map(|&q| d * q as f32 + m));
}

/// The fifth bits of codes, value `j` in bit `j`, then the others.
fn five_bits(codes: &[i32], bytes: &mut Vec<u8>) {
    let high = codes.iter().enumerate().fold(0, |bits, (j, q)| bits | (*q as u32 >> 4) << j);
    bytes.extend(high.to_le_bytes());
    nibbles(codes, bytes);
}

fn q5_0(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let (d, stored) = scale(largest(x) / 16.0);
    bytes.extend(stored);
    let codes: Vec<i32> = x.iter().map(|&value| code(value, d, -16, 15) + 16).collect();
    five_bits(&codes, bytes);
    meant.extend(codes.iter().map(|&q| d * (q - 16) as f32));
}

fn q5_1(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let least = x.iter().copied().fold(f32::INFINITY, f32::min);
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let ((d, d_stored), (m, m_stored)) = (scale((most - least) / 31.0), scale(least));
    bytes.extend(d_stored);
    bytes.extend(m_stored);
    let codes: Vec<i32> = x.iter().map(|&value| code(value - m, d, 0, 31)).collect();
    five_bits(&codes, bytes);
    meant.extend(codes.iter().map(|&q| d * q as f32 + m));
}

fn q6_k(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let (d, stored) = scale(largest(x) / 32.0 / 127.0);
    let mut scales = [0_i8; 16];
    let mut codes = [0_i32; 256];
    for (s, group) in x.chunks(16).enumerate() {
        scales[s] = code(largest(group) / 32.0, d, 1, 127) as i8;
        let step = d * f32::from(scales[s]);
        for (i, &value) in group.iter().enumerate() {
            codes[16 * s + i] = code(value, step, -32, 31) + 32;
            meant.push(step * (codes[16 * s + i] - 32) as f32);
        }
    }
    let (mut low, mut high) = ([0_u8; 128], [0_u8; 64]);
    for (i, &q) in codes.iter().enumerate() {
        let (half, i) = (i / 128, i % 128);
        let (quarter, l) = (i / 32, i % 32);
        low[64 * half + 32 * (quarter % 2) + l] |= ((q & 15) as u8) << (4 * (quarter / 2));
        high[32 * half + l] |= ((q >> 4) as u8) << (2 * quarter);
    }
    bytes.extend(low);
    bytes.extend(high);
    bytes.extend(scales.map(|s| s as u8));
    bytes.extend(stored);
}
