//! ggml `IQ4_NL`: blocks of an f16 scale and 32 4-bit codes of uneven steps; laid out as `Q4_0`.

use eitri_kernels::WeightFormat;

use super::{Format, ggml_q4_0};
use crate::Encoding;

pub(super) static FORMAT: Format =
    Format::Tensor(&[(Encoding::IQ4_NL, WeightFormat::Iq4Nl, ggml_q4_0::row)]);
