//! Round-to-nearest quantisers for ggml blocks and their definitions, written from the format.

use half::f16;

/// A ggml type as the test writer needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q6K,
}

impl Block {
    pub(crate) const ALL: [Self; 7] =
        [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Q6K];

    /// Number of the type in a file.
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 30,
            Self::Q8_0 => 8,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q6K => 14,
        }
    }

    /// Stored bytes, and the values that they stand for.
    pub(crate) fn quantise(self, values: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let (mut bytes, mut meant) = (Vec::new(), Vec::new());
        match self {
            Self::F32 => values.iter().for_each(|&x| {
                bytes.extend(x.to_le_bytes());
                meant.push(x);
            }),
            Self::F16 => values.iter().for_each(|&x| {
                bytes.extend(f16::from_f32(x).to_le_bytes());
                meant.push(f16::from_f32(x).to_f32());
            }),
            Self::Bf16 => values.iter().for_each(|&x| {
                bytes.extend(half::bf16::from_f32(x).to_le_bytes());
                meant.push(half::bf16::from_f32(x).to_f32());
            }),
            Self::Q8_0 => values.chunks(32).for_each(|x| q8_0(x, &mut bytes, &mut meant)),
            Self::Q4_0 => values.chunks(32).for_each(|x| q4_0(x, &mut bytes, &mut meant)),
            Self::Q4_1 => values.chunks(32).for_each(|x| q4_1(x, &mut bytes, &mut meant)),
            Self::Q6K => values.chunks(256).for_each(|x| q6_k(x, &mut bytes, &mut meant)),
        }
        (bytes, meant)
    }
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// Scale rounded as stored, and its bytes.
fn scale(value: f32) -> (f32, [u8; 2]) {
    let stored = f16::from_f32(value);
    (stored.to_f32(), stored.to_le_bytes())
}

fn code(value: f32, scale: f32, least: i32, most: i32) -> i32 {
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

/// Value `j` in the low and `j + 16` in the high nibble of byte `j`.
fn nibbles(codes: &[i32], bytes: &mut Vec<u8>) {
    bytes.extend((0..16).map(|j| codes[j] as u8 | (codes[j + 16] as u8) << 4));
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
