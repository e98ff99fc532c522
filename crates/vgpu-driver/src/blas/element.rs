//! Numbers as matrices store them (`cudaDataType`).

use half::{bf16, f16};

use super::product::Number;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Float32,
    Float64,
    Float16,
    Bfloat16,
}

impl Element {
    pub(super) fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Float32),
            1 => Some(Self::Float64),
            2 => Some(Self::Float16),
            14 => Some(Self::Bfloat16),
            _ => None,
        }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Float64 => 8,
            Self::Float32 => 4,
            Self::Float16 | Self::Bfloat16 => 2,
        }
    }

    /// The first number of `bytes`.
    pub(super) fn decode(self, bytes: &[u8]) -> f64 {
        match self {
            Self::Float32 => f64::from(f32::from_le_bytes(first(bytes))),
            Self::Float64 => f64::from_le_bytes(first(bytes)),
            Self::Float16 => f16::from_le_bytes(first(bytes)).to_f64(),
            Self::Bfloat16 => bf16::from_le_bytes(first(bytes)).to_f64(),
        }
    }

    /// Appends all numbers of `bytes`.
    pub(super) fn decode_all<T: Number>(self, bytes: &[u8], to: &mut Vec<T>) {
        match self {
            Self::Float32 => {
                let value = |bytes| T::from_f32(f32::from_le_bytes(first(bytes)));
                to.extend(bytes.chunks_exact(4).map(value));
            }
            Self::Float64 => {
                let value = |bytes| T::from_f64(f64::from_le_bytes(first(bytes)));
                to.extend(bytes.chunks_exact(8).map(value));
            }
            Self::Float16 => {
                let value = |bytes| T::from_f32(f16::from_le_bytes(first(bytes)).to_f32());
                to.extend(bytes.chunks_exact(2).map(value));
            }
            Self::Bfloat16 => {
                let value = |bytes| T::from_f32(bf16::from_le_bytes(first(bytes)).to_f32());
                to.extend(bytes.chunks_exact(2).map(value));
            }
        }
    }

    /// Rounds to nearest, ties to even, and appends the number's bytes.
    pub(super) fn encode(self, value: f64, to: &mut Vec<u8>) {
        match self {
            Self::Float32 => to.extend((value as f32).to_le_bytes()),
            Self::Float64 => to.extend(value.to_le_bytes()),
            Self::Float16 => to.extend(f16::from_f64(value).to_le_bytes()),
            Self::Bfloat16 => to.extend(bf16::from_f64(value).to_le_bytes()),
        }
    }
}

/// The first bytes; zeros where there are too few, which no caller's buffer has.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_keeps_what_it_can_hold_and_rounds_the_rest() {
        for (code, value, kept) in [
            (0, 1.0 + f64::from(f32::EPSILON), 1.0 + f64::from(f32::EPSILON)),
            (1, 1.0 + f64::EPSILON, 1.0 + f64::EPSILON),
            (2, 65504.0, 65504.0),
            (2, 1.0 + 1.0 / 2048.0, 1.0),
            (14, 1.0 + 1.0 / 128.0, 1.0 + 1.0 / 128.0),
            (14, 1.0 + 1.0 / 256.0, 1.0),
        ] {
            let element = Element::from_code(code).unwrap();
            let mut bytes = Vec::new();
            element.encode(value, &mut bytes);
            assert_eq!(bytes.len(), element.bytes());
            assert_eq!(element.decode(&bytes).to_bits(), kept.to_bits(), "{element:?}");
            let mut all = Vec::<f64>::new();
            element.decode_all(&bytes.repeat(2), &mut all);
            assert_eq!(all, [kept; 2], "{element:?}");
        }
        assert_eq!(Element::from_code(3), None);
    }
}
