//! Matrix products, embeddings, packing and mixture of experts against plain definitions.

#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod invariance;
mod moe;
mod packing;
mod products;

use candle_core::{Device, Tensor};
use eitri_kernels::{
    Activations, Codes, Context, ContextConfig, Isa, Weight, WeightFormat, ops::kernel_name, read,
    reference::CanonicalRows,
};

fn context(isa: Isa, activations: Activations, threads: usize) -> Context {
    Context::new(&ContextConfig { threads, activations, isa: Some(isa), on_thread_start: None })
        .unwrap()
}

/// All instruction sets of this machine.
fn isas() -> Vec<Isa> {
    Isa::available().collect()
}

/// Whether activations meet these weights in 8 bits: AVX2 takes 16 for signed bytes, and where only
/// the portable kernel exists they stay f32.
fn coarse_activations(isa: Isa, format: WeightFormat, activations: Activations) -> bool {
    activations == Activations::Int8
        && match format {
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => false,
            WeightFormat::Grouped(format) if format.codes == Codes::E4m3 => false,
            _ if isa == Isa::Avx512 => true,
            WeightFormat::U4 | WeightFormat::U4Min => isa != Isa::Scalar,
            WeightFormat::I8 => isa == Isa::NeonDot,
            WeightFormat::Grouped(format) => {
                isa == Isa::Avx2 && matches!(format.codes, Codes::U4 | Codes::U4Zero)
            }
            WeightFormat::Iq4Nl | WeightFormat::Iq4Xs => false,
            _ => isa == Isa::Avx2,
        }
}

/// Whether activations meet these weights in bf16.
fn rounded_activations(isa: Isa, format: WeightFormat, activations: Activations) -> bool {
    let ctx = context(isa, activations, 1);
    kernel_name(&ctx, format).ends_with(" x bf16")
}

fn weight(
    ctx: &Context,
    format: WeightFormat,
    n: usize,
    k: usize,
    seed: u64,
) -> (CanonicalRows, Weight) {
    let rows = CanonicalRows::random(format, n, k, seed).unwrap();
    let packed = Weight::pack(ctx, format, n, k, 1, &rows).unwrap();
    (rows, packed)
}

fn tensor(values: &[f32], width: usize) -> Tensor {
    Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu).unwrap()
}

fn zeros(rows: usize, width: usize) -> Tensor {
    tensor(&vec![0.0; rows * width], width)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    read::<f32, _>(tensor, <[f32]>::to_vec).unwrap()
}
