//! The part of cuBLAS that candle uses: handles and matrix products.

mod api;
mod element;
mod gemm;
mod product;

use std::ffi::c_int;

use crate::{
    pointer::In,
    state::{self, State},
    status::{self, Status},
    work::Work,
};

use self::{
    element::Element,
    gemm::{Gemm, Scalar},
};

/// `cublasStatus_t` other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlasStatus {
    NotInitialized = 1,
    AllocFailed = 3,
    InvalidValue = 7,
    ExecutionFailed = 13,
    NotSupported = 15,
}

type Result<T> = std::result::Result<T, BlasStatus>;

impl From<Status> for BlasStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::NotInitialized | Status::InvalidContext => Self::NotInitialized,
            Status::OutOfMemory => Self::AllocFailed,
            Status::InvalidValue => Self::InvalidValue,
            Status::NotSupported => Self::NotSupported,
            _ => Self::ExecutionFailed,
        }
    }
}

/// What a cuBLAS handle remembers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BlasHandle {
    context: usize,
    stream: usize,
    /// Whether alpha and beta are addresses of the device.
    device_scalars: bool,
    math_mode: c_int,
}

/// A cuBLAS call in the current context.
fn call(name: &'static str, body: impl FnOnce(&mut State, usize) -> Result<()>) -> c_int {
    match state::in_context(name, |state, context| Ok(body(state, context))) {
        Ok(Ok(())) => 0,
        Ok(Err(status)) => status as c_int,
        Err(status) => BlasStatus::from(status) as c_int,
    }
}

fn handle_of(state: &mut State, handle: usize) -> Result<&mut BlasHandle> {
    state.blas_handles.get_mut(&handle).ok_or(BlasStatus::NotInitialized)
}

/// One of alpha and beta: read now where it is on the host, at the product's turn on the device.
fn scalar(handle: &BlasHandle, value: In<u8>, element: Element) -> Result<Scalar> {
    if value.is_null() {
        return Err(BlasStatus::InvalidValue);
    }
    if handle.device_scalars {
        return Ok(Scalar::Device(value.address() as u64, element));
    }
    let bytes: Vec<u8> =
        (0..element.bytes()).map(|byte| value.at(byte)).collect::<status::Result<_>>()?;
    Ok(Scalar::Host(element.decode(&bytes)))
}

fn submit(state: &mut State, context: usize, handle: BlasHandle, gemm: Gemm) -> Result<()> {
    if gemm.is_nothing() {
        return Ok(());
    }
    Ok(state.submit(context, handle.stream, Work::Library(std::sync::Arc::new(gemm)))?)
}
