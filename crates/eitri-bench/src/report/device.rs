//! What a device can do at most.

use serde::{Deserialize, Serialize};

/// Type in which products of matrices are computed with many rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// 16-bit floats; also for weights alone in few bits.
    #[default]
    Bf16,
    /// 8-bit floats, weights and activations.
    Fp8,
    /// 4-bit floats, weights and activations.
    Fp4,
}

/// Dense operations per second, in 10^12.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Teraflops {
    /// 16-bit floats.
    pub bf16: f64,
    /// 8-bit floats.
    pub fp8: f64,
    /// 4-bit floats.
    pub fp4: f64,
}

impl Teraflops {
    /// The rate for one type.
    pub fn of(&self, arithmetic: Arithmetic) -> f64 {
        match arithmetic {
            Arithmetic::Bf16 => self.bf16,
            Arithmetic::Fp8 => self.fp8,
            Arithmetic::Fp4 => self.fp4,
        }
    }
}

/// One set of limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes read from memory, in 10^9 per second.
    pub gbps: f64,
    /// Operations per second, where known.
    pub teraflops: Option<Teraflops>,
}

/// A device and its two sets of limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// By the data sheet: what is faster than this cannot be.
    pub nominal: Option<Limits>,
    /// As measured: what is faster than this has not been seen.
    pub practical: Option<Limits>,
    /// Bytes of the largest cache: what fits in it is not read from memory.
    pub cache_bytes: u64,
    /// Where the limits come from.
    pub source: String,
}

impl Device {
    /// NVIDIA Jetson Thor (T5000). Nominal: 273 GB/s and the dense rates of the data sheet.
    /// Practical: 243 GB/s, on which the published bf16 rows agree at batch 1 and 8, and the best
    /// rates of matrix products that others have published.
    pub fn jetson_thor() -> Self {
        Self {
            name: "Jetson Thor".to_owned(),
            nominal: Some(Limits {
                gbps: 273.0,
                teraflops: Some(Teraflops { bf16: 258.0, fp8: 517.0, fp4: 1035.0 }),
            }),
            practical: Some(Limits {
                gbps: 243.0,
                teraflops: Some(Teraflops { bf16: 125.0, fp8: 250.0, fp4: 400.0 }),
            }),
            cache_bytes: 32 << 20,
            source: "data sheet; published measurements".to_owned(),
        }
    }

    /// A device of which only the bandwidth is known that was measured on it.
    pub fn measured(name: impl Into<String>, gbps: f64, cache_bytes: u64) -> Self {
        Self {
            name: name.into(),
            nominal: None,
            practical: Some(Limits { gbps, teraflops: None }),
            cache_bytes,
            source: "read bandwidth measured in the same run".to_owned(),
        }
    }
}
