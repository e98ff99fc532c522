//! Keys and values of all layers.

use candle_core::DType;
use eitri_engine::BlockCopy;
use eitri_kernels::{HeadShape, KV_BLOCK, KernelError, KvLayer, KvScales};
use eitri_models::ModelFiles;

/// Element type of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvDtype {
    /// bfloat16, two bytes.
    #[default]
    Bf16,
    /// f32, four bytes: for comparisons with a reference.
    F32,
    /// FP8 (E4M3), one byte, with the checkpoint's scales where it has some.
    Fp8,
}

impl KvDtype {
    /// Name for logs and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::Fp8 => "fp8",
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        self.dtype().size_in_bytes()
    }

    /// The type for a model where none was asked for: FP8 if its checkpoint declares that, as in
    /// vLLM, or else bf16.
    pub fn of(files: &ModelFiles) -> Self {
        if files.declares_fp8_kv_cache() { Self::Fp8 } else { Self::default() }
    }

    /// The type of the tensors that hold it.
    pub fn dtype(self) -> DType {
        match self {
            Self::Bf16 => DType::BF16,
            Self::F32 => DType::F32,
            Self::Fp8 => DType::F8E4M3,
        }
    }
}

/// The KV memory of a model: one [`KvLayer`] per layer, all with the same blocks.
///
/// The address space is reserved at once; a page takes memory when a token is first written to it.
#[derive(Debug)]
pub(crate) struct KvMemory {
    layers: Vec<KvLayer>,
}

impl KvMemory {
    /// Reserves `num_blocks` blocks of [`KV_BLOCK`] tokens in each of `layers` layers. `scales` are
    /// for FP8: one entry for each layer, or none.
    pub(crate) fn new(
        layers: usize,
        num_blocks: usize,
        shape: HeadShape,
        dtype: KvDtype,
        scales: &[KvScales],
    ) -> Result<Self, KernelError> {
        let layers = (0..layers)
            .map(|layer| {
                let memory = KvLayer::new(num_blocks, KV_BLOCK, shape, dtype.dtype())?;
                match scales.get(layer) {
                    Some(scales) if dtype == KvDtype::Fp8 => memory.with_scales(scales.clone()),
                    _ => Ok(memory),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { layers })
    }

    /// Bytes of one block over all layers, for the memory plan.
    pub(crate) fn bytes_per_block(
        layers: usize,
        shape: &HeadShape,
        dtype: KvDtype,
    ) -> Result<u64, KernelError> {
        Ok((KvLayer::bytes_per_block(shape, dtype.dtype())? * layers) as u64)
    }

    /// The layers, for the model.
    pub(crate) fn layers(&self) -> &[KvLayer] {
        &self.layers
    }

    /// Carries out copies in every layer. No copy reads what another one writes.
    pub(crate) fn copy(&self, copies: &[BlockCopy]) -> Result<(), KernelError> {
        for layer in &self.layers {
            for copy in copies {
                layer.copy_block(copy.from.0 as usize, copy.to.0 as usize, copy.tokens)?;
            }
        }
        Ok(())
    }
}
