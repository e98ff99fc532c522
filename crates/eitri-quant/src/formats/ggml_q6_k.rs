//! ggml `Q6_K`: blocks of 256 6-bit codes, 16 i8 scales and an f16 scale, kept as they are.

use eitri_kernels::WeightFormat;

use super::{Format, finite_f16, open_tensor};
use crate::Encoding;

pub(super) static FORMAT: Format = Format {
    encodings: &[Encoding::Q6_K],
    open: |checkpoint, module| {
        open_tensor(checkpoint, module, &[(Encoding::Q6_K, WeightFormat::Q6K, row)])
    },
};

fn row(stored: &[u8], canonical: &mut [u8]) -> bool {
    canonical.copy_from_slice(stored);
    let (blocks, _) = stored.as_chunks::<{ Encoding::Q6_K.bytes }>();
    blocks.iter().all(|block| finite_f16([block[208], block[209]]))
}
