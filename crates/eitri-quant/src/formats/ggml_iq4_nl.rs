//! ggml `IQ4_NL`: blocks of an f16 scale and 32 4-bit codes of uneven steps; laid out as `Q4_0`.

use eitri_kernels::WeightFormat;

use super::{Format, ggml_q4_0, open_tensor};
use crate::Encoding;

pub(super) static FORMAT: Format = Format {
    encodings: &[Encoding::IQ4_NL],
    open: |checkpoint, module| {
        let row = ggml_q4_0::row;
        open_tensor(checkpoint, module, &[(Encoding::IQ4_NL, WeightFormat::Iq4Nl, row)])
    },
};
