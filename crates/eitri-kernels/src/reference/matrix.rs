//! Plain definitions that kernels are compared with, and matrices to compare them on.
//!
//! For tests, benches and start-up probes only: nothing here is fast.

use half::f16;

use crate::{Codes, Grouped, KernelError, RowSource, ScaleType, WeightFormat, weight::GROUP};

/// Pseudo-random numbers (splitmix64), the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A sequence that `seed` determines.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from -1 to 1.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `count` numbers from -1 to 1.
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.signed()).collect()
    }
}

/// A matrix as canonical rows in memory.
#[derive(Debug, Clone)]
pub struct CanonicalRows {
    format: WeightFormat,
    k: usize,
    row_bytes: usize,
    bytes: Vec<u8>,
}

impl CanonicalRows {
    /// `n` random rows of `k` values of about unit size; `None` when `k` does not fit the format.
    pub fn random(format: WeightFormat, n: usize, k: usize, seed: u64) -> Option<Self> {
        let row_bytes = format.row_bytes(k)?;
        let mut random = Random::new(seed);
        let mut bytes = Vec::with_capacity(n * row_bytes);
        for _ in 0..n {
            random_row(format, k, &mut random, &mut bytes);
        }
        Some(Self { format, k, row_bytes, bytes })
    }

    /// The canonical bytes of a row.
    pub fn bytes(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// The values of a row.
    pub fn values(&self, row: usize) -> Vec<f32> {
        let mut values = vec![0.0; self.k];
        self.format.dequantise_row(self.bytes(row), &mut values);
        values
    }

    /// `x W^T` of the rows `range` of the matrix for each row of `x` (`[_, k]`), summed in f64.
    pub fn product(&self, range: std::ops::Range<usize>, x: &[f32]) -> Vec<f32> {
        let weights: Vec<Vec<f32>> = range.map(|row| self.values(row)).collect();
        let dot = |x: &[f32], w: &[f32]| -> f64 {
            x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
        };
        x.chunks_exact(self.k).flat_map(|x| weights.iter().map(move |w| dot(x, w) as f32)).collect()
    }
}

impl RowSource for CanonicalRows {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        out.copy_from_slice(self.bytes(row));
        Ok(())
    }
}

/// A random row of a format of ggml's blocks of 256; `false` for other formats.
fn random_blocks(format: WeightFormat, k: usize, random: &mut Random, out: &mut Vec<u8>) -> bool {
    // Bytes of any value before the factors, the factors' usual sizes, bytes of any value after.
    let (before, factors, after): (usize, &[f32], usize) = match format {
        WeightFormat::Q2K => (80, &[1.0 / 12.0, 1.0 / 8.0], 0),
        WeightFormat::Q3K => (108, &[1.0 / 128.0], 0),
        WeightFormat::Q4K => (0, &[1.0 / 512.0, 1.0 / 64.0], 140),
        WeightFormat::Q5K => (0, &[1.0 / 1024.0, 1.0 / 64.0], 172),
        WeightFormat::Q6K => (208, &[1.0 / 4096.0], 0),
        WeightFormat::Iq4Xs => (0, &[1.0 / 2048.0], 134),
        _ => return false,
    };
    for _ in 0..k / 256 {
        out.extend((0..before).map(|_| random.bits() as u8));
        for factor in factors {
            out.extend(f16::from_f32((1.5 + random.signed()) * factor).to_le_bytes());
        }
        out.extend((0..after).map(|_| random.bits() as u8));
    }
    true
}

fn random_row(format: WeightFormat, k: usize, random: &mut Random, out: &mut Vec<u8>) {
    if random_blocks(format, k, random, out) {
        return;
    }
    let code_bytes = match format {
        WeightFormat::F32 => {
            return out.extend((0..k).flat_map(|_| random.signed().to_le_bytes()));
        }
        WeightFormat::F16 => {
            return out.extend((0..k).flat_map(|_| f16::from_f32(random.signed()).to_le_bytes()));
        }
        WeightFormat::Bf16 => {
            let value = |r: &mut Random| half::bf16::from_f32(r.signed()).to_le_bytes();
            return out.extend((0..k).flat_map(|_| value(random)));
        }
        WeightFormat::Mxfp4 => {
            out.extend((0..k / 2).map(|_| random.bits() as u8));
            return out.extend((0..k / GROUP).map(|_| 123 + (random.bits() % 4) as u8));
        }
        WeightFormat::Grouped(format) => return random_groups(format, k, random, out),
        WeightFormat::Nvfp4 => {
            out.extend((0..k / 2).map(|_| random.bits() as u8));
            // Exponents of 2^-4 to 2^3.
            out.extend((0..k / 16).map(|_| 24 + (random.bits() % 64) as u8));
            return out.extend(((1.5 + random.signed()) / 32.0).to_le_bytes());
        }
        WeightFormat::I8 => k,
        WeightFormat::U5 | WeightFormat::U5Min => k / 2 + k / 8,
        _ => k / 2,
    };
    out.extend((0..code_bytes).map(|_| random.bits() as u8));
    let largest = match format {
        WeightFormat::I8 | WeightFormat::Iq4Nl => 128.0,
        WeightFormat::U5 | WeightFormat::U5Min => 16.0,
        _ => 8.0,
    };
    for _ in 0..k / GROUP {
        out.extend(f16::from_f32((1.5 + random.signed()) / largest).to_le_bytes());
    }
    if matches!(format, WeightFormat::U4Min | WeightFormat::U5Min) {
        for _ in 0..k / GROUP {
            out.extend(f16::from_f32(random.signed() - 1.0).to_le_bytes());
        }
    }
}

fn random_groups(format: Grouped, k: usize, random: &mut Random, out: &mut Vec<u8>) {
    let (largest, zeros) = match format.codes {
        Codes::U4 | Codes::U4Zero => (8.0, 16),
        Codes::I8 | Codes::I8Zero => (128.0, 256),
        Codes::E4m3 => (64.0, 0),
    };
    for _ in 0..format.codes.bytes(k) {
        let code = random.bits() as u8;
        // E4M3 has a NaN where all bits but the sign are set.
        let not_a_number = format.codes == Codes::E4m3 && code & 0x7F == 0x7F;
        out.push(if not_a_number { 0 } else { code });
    }
    let groups = k / format.group.size();
    for _ in 0..groups {
        let scale = (1.5 + random.signed()) / largest;
        match format.scale {
            ScaleType::F16 => out.extend(f16::from_f32(scale).to_le_bytes()),
            ScaleType::Bf16 => out.extend(half::bf16::from_f32(scale).to_le_bytes()),
            ScaleType::F32 => out.extend(scale.to_le_bytes()),
        }
    }
    if format.codes.has_zero() {
        out.extend((0..groups).map(|_| (random.bits() % zeros) as u8));
    }
}

/// Largest difference between `got` and the same places of `expected` as a share of the largest
/// magnitude in all of `expected`; NaN when either holds one.
pub fn relative_difference(got: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |max, e| max.max(e.abs()));
    let differences = got.iter().zip(expected).map(|(g, e)| (g - e).abs() / largest);
    differences.fold(0.0, |max: f32, d| if d.is_nan() || d > max { d } else { max })
}
