//! Types without blocks: F32, F16 and BF16, rounded to the nearest, ties to even.

use half::{bf16, f16};

use super::{Codec, decode_blocks, encode_blocks};
use crate::Encoding;

pub(super) static F32: Codec = Codec {
    encoding: Encoding::F32,
    encode: |values, stored| {
        encode_blocks(values, stored, |&[value]: &[f32; 1], bytes| *bytes = value.to_le_bytes());
    },
    decode: |stored, values| {
        decode_blocks(stored, values, |bytes, [value]: &mut [f32; 1]| {
            *value = f32::from_le_bytes(*bytes);
        });
    },
};

pub(super) static F16: Codec = Codec {
    encoding: Encoding::F16,
    encode: |values, stored| {
        encode_blocks(values, stored, |&[value]: &[f32; 1], bytes| {
            *bytes = f16::from_f32(value).to_le_bytes();
        });
    },
    decode: |stored, values| {
        decode_blocks(stored, values, |bytes, [value]: &mut [f32; 1]| {
            *value = f16::from_le_bytes(*bytes).to_f32();
        });
    },
};

pub(super) static BF16: Codec = Codec {
    encoding: Encoding::BF16,
    encode: |values, stored| {
        encode_blocks(values, stored, |&[value]: &[f32; 1], bytes| {
            *bytes = bf16::from_f32(value).to_le_bytes();
        });
    },
    decode: |stored, values| {
        decode_blocks(stored, values, |bytes, [value]: &mut [f32; 1]| {
            *value = bf16::from_le_bytes(*bytes).to_f32();
        });
    },
};
