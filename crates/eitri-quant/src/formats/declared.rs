//! Matrices as a configuration declares them: what loading would find, known without a file. The
//! names and sizes are those that the formats of this folder report for real tensors.

use eitri_kernels::{Codes, GroupSize, ScaleType, WeightFormat};

use super::{canonical, fp4, fp8::FP8, gptq, grouped, grouped::Grouping, packed_int};
use crate::{Encoding, Matrix, QuantError, QuantizationConfig, ScaleGroup, quantization::Scheme};

impl Matrix<'static> {
    /// The matrix `[n, k]` of `module` (a name of Hugging Face transformers) as a checkpoint with
    /// this configuration has it; without values. `dense` is the type of what is not quantised.
    ///
    /// # Errors
    /// When the configuration alone does not tell, or the shape does not fit it.
    pub fn declared(
        config: Option<&QuantizationConfig>,
        dense: Encoding,
        module: &str,
        [n, k]: [usize; 2],
    ) -> Result<Self, QuantError> {
        let Some(config) = config.filter(|config| config.is_quantized(module)) else {
            return Self::declared_as(dense, &format!("{module}.weight"), [1, n, k]);
        };
        let scheme = config.scheme()?;
        let shape = || QuantError::Shape {
            tensor: module.to_owned(),
            expected: vec![n, k.next_multiple_of(GroupSize::K32.size())],
            got: vec![n, k],
        };
        let group = match scheme {
            Scheme::Fp8Blocks => config.block()[1],
            Scheme::Packed { group, .. } | Scheme::Gptq { group, .. } | Scheme::Awq { group } => {
                group.unwrap_or(k)
            }
            Scheme::Nvfp4 => fp4::NV_BLOCK,
        };
        if scheme == Scheme::Nvfp4 {
            let bytes = n * k / 2 + n * k / group + size_of::<f32>();
            let (name, format) = (format!("{module}.weight"), WeightFormat::Nvfp4);
            return Ok(Self::without_values(name, fp4::NVFP4, format, [1, n, k], bytes));
        }
        let grouping = Grouping::fit(k, group).ok_or_else(shape)?;
        let groups = k.div_ceil(group);
        let matrix = |name: &str, stored, codes, scale, bytes| {
            let format = grouping.format(codes, scale);
            Self::without_values(format!("{module}.{name}"), stored, format, [1, n, k], bytes)
        };
        let integers = |bits: usize| n * (k * bits).div_ceil(32) * size_of::<u32>();
        let scales = |scale: ScaleType| n * groups * scale.bytes();
        let zeros = |bits: usize| groups * (n * bits).div_ceil(32) * size_of::<u32>();
        Ok(match scheme {
            Scheme::Packed { bits, zero, .. } => {
                // llm-compressor keeps scales in the type of the model.
                let scale = if dense == Encoding::F16 { ScaleType::F16 } else { ScaleType::Bf16 };
                let bytes = integers(bits) + scales(scale) + if zero { zeros(bits) } else { 0 };
                let stored = (packed_int::stored_name(bits), grouping.scale_group());
                matrix("weight_packed", stored, grouped::integers(bits, zero), scale, bytes)
            }
            Scheme::Gptq { bits, zero, .. } => {
                let order = k * size_of::<i32>();
                let bytes = integers(bits) + scales(ScaleType::F16) + zeros(bits) + order;
                let stored = (gptq::stored_name(bits), grouping.scale_group());
                matrix("qweight", stored, grouped::integers(bits, zero), ScaleType::F16, bytes)
            }
            Scheme::Awq { .. } => {
                let bytes = integers(4) + scales(ScaleType::F16) + zeros(4);
                let stored = ("AWQ 4-bit", grouping.scale_group());
                matrix("qweight", stored, Codes::U4Zero, ScaleType::F16, bytes)
            }
            Scheme::Fp8Blocks | Scheme::Nvfp4 => {
                let [rows, inputs] = config.block();
                // Qwen's files; `DeepSeek`'s have f32.
                let scale = ScaleType::Bf16;
                let bytes = n * k + n.div_ceil(rows) * groups * scale.bytes();
                let stored = (FP8, ScaleGroup::Block(rows, inputs));
                matrix("weight", stored, Codes::E4m3, scale, bytes)
            }
        })
    }

    /// `experts` matrices `[n, k]` that are one tensor of this type; without values.
    ///
    /// # Errors
    /// When no format reads the type, or rows do not fill whole blocks of it.
    pub fn declared_as(
        encoding: Encoding,
        name: &str,
        [experts, n, k]: [usize; 3],
    ) -> Result<Self, QuantError> {
        let (Some(format), Some(row)) = (canonical(encoding), encoding.size(k)) else {
            return Err(QuantError::NotStorable {
                tensor: name.to_owned(),
                shape: vec![experts, n, k],
                encoding: encoding.name,
            });
        };
        let stored = (encoding.name, encoding.scale_group());
        let bytes = experts * n * row;
        Ok(Self::without_values(name.to_owned(), stored, format, [experts, n, k], bytes))
    }
}
