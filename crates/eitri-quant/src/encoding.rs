//! How single tensors are stored in files: names and sizes, of supported types and of others.

use crate::ScaleGroup;

/// A tensor type of GGUF or safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// Its name as in the file format.
    pub name: &'static str,
    /// Values stored together.
    pub block: usize,
    /// Bytes of a block.
    pub bytes: usize,
}

impl Encoding {
    const fn new(name: &'static str, block: usize, bytes: usize) -> Self {
        Self { name, block, bytes }
    }

    /// IEEE single precision, little-endian.
    pub const F32: Self = Self::new("F32", 1, 4);
    /// IEEE half precision, little-endian.
    pub const F16: Self = Self::new("F16", 1, 2);
    /// IEEE double precision, little-endian.
    pub const F64: Self = Self::new("F64", 1, 8);
    /// The upper half of a single, little-endian.
    pub const BF16: Self = Self::new("BF16", 1, 2);
    /// 8-bit float with 4 exponent and 3 mantissa bits.
    pub const F8_E4M3: Self = Self::new("F8_E4M3", 1, 1);
    /// 8-bit power of two.
    pub const F8_E8M0: Self = Self::new("F8_E8M0", 1, 1);
    /// Unsigned bytes.
    pub const U8: Self = Self::new("U8", 1, 1);
    /// Signed bytes.
    pub const I8: Self = Self::new("I8", 1, 1);
    /// 32-bit integers, little-endian.
    pub const I32: Self = Self::new("I32", 1, 4);
    /// 64-bit integers, little-endian.
    pub const I64: Self = Self::new("I64", 1, 8);
    /// ggml: f16 scale, 32 i8 codes.
    pub const Q8_0: Self = Self::new("Q8_0", 32, 34);
    /// ggml: f16 scale, 32 4-bit codes with zero 8.
    pub const Q4_0: Self = Self::new("Q4_0", 32, 18);
    /// ggml: f16 scale, f16 minimum, 32 4-bit codes.
    pub const Q4_1: Self = Self::new("Q4_1", 32, 20);
    /// ggml: f16 scale, 32 bits, 32 4-bit codes that these bits extend, with zero 16.
    pub const Q5_0: Self = Self::new("Q5_0", 32, 22);
    /// ggml: f16 scale, f16 minimum, 32 bits, 32 4-bit codes that these bits extend.
    pub const Q5_1: Self = Self::new("Q5_1", 32, 24);
    /// ggml: 256 2-bit codes, 16 4-bit scales and minima, an f16 factor of each.
    pub const Q2_K: Self = Self::new("Q2_K", 256, 84);
    /// ggml: 256 3-bit codes, 16 6-bit scales, an f16 factor.
    pub const Q3_K: Self = Self::new("Q3_K", 256, 110);
    /// ggml: f16 scale and minimum of 8 6-bit scales and minima, 256 4-bit codes.
    pub const Q4_K: Self = Self::new("Q4_K", 256, 144);
    /// ggml: f16 scale and minimum of 8 6-bit scales and minima, 256 5-bit codes.
    pub const Q5_K: Self = Self::new("Q5_K", 256, 176);
    /// ggml: 256 6-bit codes, 16 i8 scales, one f16 scale.
    pub const Q6_K: Self = Self::new("Q6_K", 256, 210);

    /// ggml: f16 scale, 32 4-bit codes of uneven steps.
    pub const IQ4_NL: Self = Self::new("IQ4_NL", 32, 18);
    /// ggml: f16 factor of 8 6-bit scales, 256 4-bit codes of the steps of `IQ4_NL`.
    pub const IQ4_XS: Self = Self::new("IQ4_XS", 256, 136);
    /// ggml: e8m0 scale, 32 e2m1 codes.
    pub const MXFP4: Self = Self::new("MXFP4", 32, 17);

    /// Bytes of `count` values; `None` when they do not fill whole blocks or overflow.
    pub fn size(self, count: usize) -> Option<usize> {
        if !count.is_multiple_of(self.block) {
            return None;
        }
        (count / self.block).checked_mul(self.bytes)
    }

    /// Which of its values share a scale.
    pub fn scale_group(self) -> ScaleGroup {
        match self {
            Self::Q2_K | Self::Q3_K | Self::Q6_K => ScaleGroup::Inputs(16),
            Self::Q4_K | Self::Q5_K | Self::IQ4_XS => ScaleGroup::Inputs(32),
            Self { block: 1, .. } => ScaleGroup::Unscaled,
            Self { block, .. } => ScaleGroup::Inputs(block),
        }
    }

    /// The type with this number in a GGUF file (`enum ggml_type`); retired numbers have none.
    pub fn from_ggml(id: u32) -> Option<Self> {
        GGML.iter().find(|(known, _)| *known == id).map(|&(_, encoding)| encoding)
    }

    /// Its number in a GGUF file; `None` for types that only safetensors has.
    pub fn ggml_id(self) -> Option<u32> {
        GGML.iter().find(|(_, known)| *known == self).map(|&(id, _)| id)
    }

    /// Its name in a safetensors header; `None` for types that only GGUF has.
    pub fn safetensors_name(self) -> Option<&'static str> {
        SAFETENSORS.contains(&self).then_some(self.name)
    }

    /// The type with this name in a safetensors header.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        SAFETENSORS.iter().find(|encoding| encoding.name == name).copied()
    }
}

/// `enum ggml_type` and `type_traits` of ggml.
const GGML: [(u32, Encoding); 35] = [
    (0, Encoding::F32),
    (1, Encoding::F16),
    (2, Encoding::Q4_0),
    (3, Encoding::Q4_1),
    (6, Encoding::Q5_0),
    (7, Encoding::Q5_1),
    (8, Encoding::Q8_0),
    (9, Encoding::new("Q8_1", 32, 36)),
    (10, Encoding::Q2_K),
    (11, Encoding::Q3_K),
    (12, Encoding::Q4_K),
    (13, Encoding::Q5_K),
    (14, Encoding::Q6_K),
    (15, Encoding::new("Q8_K", 256, 292)),
    (16, Encoding::new("IQ2_XXS", 256, 66)),
    (17, Encoding::new("IQ2_XS", 256, 74)),
    (18, Encoding::new("IQ3_XXS", 256, 98)),
    (19, Encoding::new("IQ1_S", 256, 50)),
    (20, Encoding::IQ4_NL),
    (21, Encoding::new("IQ3_S", 256, 110)),
    (22, Encoding::new("IQ2_S", 256, 82)),
    (23, Encoding::IQ4_XS),
    (24, Encoding::new("I8", 1, 1)),
    (25, Encoding::new("I16", 1, 2)),
    (26, Encoding::new("I32", 1, 4)),
    (27, Encoding::new("I64", 1, 8)),
    (28, Encoding::F64),
    (29, Encoding::new("IQ1_M", 256, 56)),
    (30, Encoding::BF16),
    (34, Encoding::new("TQ1_0", 256, 54)),
    (35, Encoding::new("TQ2_0", 256, 66)),
    (39, Encoding::MXFP4),
    (40, Encoding::new("NVFP4", 64, 36)),
    (41, Encoding::new("Q1_0", 128, 18)),
    (42, Encoding::new("Q2_0", 64, 18)),
];

/// `Dtype` of the safetensors format.
const SAFETENSORS: [Encoding; 20] = [
    Encoding::F32,
    Encoding::F16,
    Encoding::BF16,
    Encoding::F64,
    Encoding::new("BOOL", 1, 1),
    Encoding::new("U8", 1, 1),
    Encoding::new("I8", 1, 1),
    Encoding::new("U16", 1, 2),
    Encoding::new("I16", 1, 2),
    Encoding::new("U32", 1, 4),
    Encoding::new("I32", 1, 4),
    Encoding::new("U64", 1, 8),
    Encoding::new("I64", 1, 8),
    Encoding::new("F8_E4M3", 1, 1),
    Encoding::new("F8_E5M2", 1, 1),
    Encoding::new("F8_E8M0", 1, 1),
    Encoding::new("F4", 2, 1),
    Encoding::new("F6_E2M3", 4, 3),
    Encoding::new("F6_E3M2", 4, 3),
    Encoding::new("C64", 1, 8),
];
