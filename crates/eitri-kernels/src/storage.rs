//! Access to the memory of CPU tensors without copies or allocations.

use std::cell::Cell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};
use half::{bf16, f16};

use crate::KernelError;

/// Element types that kernels read and write.
pub trait Element: candle_core::WithDType {
    /// The vector inside `storage` if it holds this type.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                if let CpuStorage::$variant(data) = storage { Some(data) } else { None }
            }
        }
    };
}

element!(u8, U8);
element!(u32, U32);
element!(bf16, BF16);
element!(f16, F16);
element!(f32, F32);

fn span(layout: &Layout) -> Result<(usize, usize), candle_core::Error> {
    layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::Msg("a kernel operand must be contiguous".to_owned()))
}

/// Calls `f` with the elements of a contiguous CPU tensor.
///
/// The tensor is locked for reading meanwhile: `f` must not write to the same tensor.
///
/// # Errors
/// When the tensor is not on the CPU, not contiguous or of another type.
pub fn read<T: Element, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R, KernelError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(cpu) = &*storage else {
        return Err(KernelError::Unsupported { op: "read", what: "a tensor off the CPU".into() });
    };
    let (start, end) = span(layout)?;
    Ok(f(&cpu.as_slice::<T>()?[start..end]))
}

/// Calls `f` with the elements of a contiguous CPU tensor, to be changed in place.
///
/// The tensor is locked for writing meanwhile: `f` must not touch the same tensor.
///
/// # Errors
/// When the tensor is not on the CPU, not contiguous or of another type.
pub fn write<T: Element, R>(
    tensor: &Tensor,
    f: impl FnOnce(&mut [T]) -> R,
) -> Result<R, KernelError> {
    struct Write<T, F, R> {
        f: Cell<Option<F>>,
        result: Cell<Option<R>>,
        element: std::marker::PhantomData<T>,
    }
    impl<T: Element, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Write<T, F, R> {
        fn name(&self) -> &'static str {
            "write"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
            let (start, end) = span(layout)?;
            let data = T::slice_mut(storage).ok_or_else(|| {
                candle_core::Error::Msg(format!("a kernel operand must be {:?}", T::DTYPE))
            })?;
            if let Some(f) = self.f.take() {
                self.result.set(Some(f(&mut data[start..end])));
            }
            Ok(())
        }
    }
    let op =
        Write { f: Cell::new(Some(f)), result: Cell::new(None), element: std::marker::PhantomData };
    tensor.inplace_op1(&op)?;
    op.result.take().ok_or_else(|| KernelError::Unsupported {
        op: "write",
        what: "a tensor off the CPU".into(),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn writes_are_seen_by_reads_and_by_views() {
        let t = Tensor::zeros((4, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let row = t.narrow(0, 2, 1).unwrap();
        write::<f32, _>(&row, |data| data.copy_from_slice(&[1.0, 2.0, 3.0])).unwrap();
        let all = read::<f32, _>(&t, <[f32]>::to_vec).unwrap();
        assert_eq!(all, [0., 0., 0., 0., 0., 0., 1., 2., 3., 0., 0., 0.]);
    }

    #[test]
    fn wrong_type_and_strided_views_are_refused() {
        let t = Tensor::zeros((4, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(read::<u8, _>(&t, |_| ()).is_err());
        assert!(write::<bf16, _>(&t, |_| ()).is_err());
        assert!(read::<f32, _>(&t.t().unwrap(), |_| ()).is_err());
    }
}
