//! The C functions (`cublas_api.h`).

#![allow(non_snake_case, reason = "the names are those of cublas_api.h")]

use std::ffi::{c_char, c_int};

use super::{
    BlasHandle, BlasStatus, Element, Gemm, Result, call, gemm::Matrix, handle_of, scalar, submit,
};
use crate::{
    pointer::{In, Out},
    state::State,
};

/// `cublasGetVersion` of CUDA 13.0.
const VERSION: c_int = 130_000;

#[unsafe(no_mangle)]
extern "C" fn cublasCreate_v2(handle: Out<usize>) -> c_int {
    call("cublasCreate_v2", |state, context| {
        let new = state.new_handle();
        state.blas_handles.insert(new, BlasHandle { context, ..BlasHandle::default() });
        Ok(handle.set(new)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cublasDestroy_v2(handle: usize) -> c_int {
    call("cublasDestroy_v2", |state, _| {
        state.blas_handles.remove(&handle).map(|_| ()).ok_or(BlasStatus::NotInitialized)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetVersion_v2(_handle: usize, version: Out<c_int>) -> c_int {
    call("cublasGetVersion_v2", |_, _| Ok(version.set(VERSION)?))
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetStream_v2(handle: usize, stream: usize) -> c_int {
    call("cublasSetStream_v2", |state, context| {
        state.resolve(context, stream)?;
        handle_of(state, handle)?.stream = stream;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetStream_v2(handle: usize, stream: Out<usize>) -> c_int {
    call("cublasGetStream_v2", |state, _| Ok(stream.set(handle_of(state, handle)?.stream)?))
}

/// No product here needs a workspace.
#[unsafe(no_mangle)]
extern "C" fn cublasSetWorkspace_v2(handle: usize, workspace: u64, bytes: usize) -> c_int {
    call("cublasSetWorkspace_v2", |state, _| {
        handle_of(state, handle)?;
        Ok(state.check_range("cublasSetWorkspace", workspace, bytes as u64)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetPointerMode_v2(handle: usize, mode: c_int) -> c_int {
    call("cublasSetPointerMode_v2", |state, _| {
        if mode != 0 && mode != 1 {
            return Err(BlasStatus::InvalidValue);
        }
        handle_of(state, handle)?.device_scalars = mode == 1;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetPointerMode_v2(handle: usize, mode: Out<c_int>) -> c_int {
    call("cublasGetPointerMode_v2", |state, _| {
        let device = handle_of(state, handle)?.device_scalars;
        Ok(mode.set(c_int::from(device))?)
    })
}

/// Modes allow less exact products; those here are exact in every mode.
#[unsafe(no_mangle)]
extern "C" fn cublasSetMathMode(handle: usize, mode: c_int) -> c_int {
    call("cublasSetMathMode", |state, _| {
        handle_of(state, handle)?.math_mode = mode;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetMathMode(handle: usize, mode: Out<c_int>) -> c_int {
    call("cublasGetMathMode", |state, _| Ok(mode.set(handle_of(state, handle)?.math_mode)?))
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetStatusName(status: c_int) -> *const c_char {
    let name = match status {
        0 => c"CUBLAS_STATUS_SUCCESS",
        1 => c"CUBLAS_STATUS_NOT_INITIALIZED",
        3 => c"CUBLAS_STATUS_ALLOC_FAILED",
        7 => c"CUBLAS_STATUS_INVALID_VALUE",
        13 => c"CUBLAS_STATUS_EXECUTION_FAILED",
        15 => c"CUBLAS_STATUS_NOT_SUPPORTED",
        _ => c"CUBLAS_STATUS_INTERNAL_ERROR",
    };
    name.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetStatusString(status: c_int) -> *const c_char {
    cublasGetStatusName(status)
}

/// The arguments that all products have.
struct Product {
    handle: usize,
    transposes: [c_int; 2],
    /// m, n, k, batch.
    sizes: [c_int; 4],
    scalars: [In<u8>; 2],
    /// A, B, C: address, element, leading dimension, stride.
    matrices: [(u64, c_int, c_int, i64); 3],
    scalar_type: Element,
}

fn product(name: &'static str, product: &Product) -> c_int {
    call(name, |state, context| multiply(state, context, product))
}

fn multiply(state: &mut State, context: usize, product: &Product) -> Result<()> {
    let handle = *handle_of(state, product.handle)?;
    if handle.context != context {
        return Err(BlasStatus::NotInitialized);
    }
    let size = |size: c_int| usize::try_from(size).map_err(|_| BlasStatus::InvalidValue);
    let matrix = |index: usize| -> Result<Matrix> {
        let (address, element, leading, stride) = product.matrices[index];
        let transposed = match product.transposes.get(index) {
            None | Some(0) => false,
            // The conjugate of a real matrix is itself.
            Some(1 | 2) => true,
            Some(_) => return Err(BlasStatus::InvalidValue),
        };
        let element = Element::from_code(element).ok_or(BlasStatus::NotSupported)?;
        Ok(Matrix { address, element, transposed, leading: size(leading)?, stride })
    };
    let [m, n, k, batch] = product.sizes;
    let gemm = Gemm {
        m: size(m)?,
        n: size(n)?,
        k: size(k)?,
        batch: size(batch)?,
        alpha: scalar(&handle, product.scalars[0], product.scalar_type)?,
        a: matrix(0)?,
        b: matrix(1)?,
        beta: scalar(&handle, product.scalars[1], product.scalar_type)?,
        c: matrix(2)?,
    };
    gemm.check()?;
    submit(state, context, handle, gemm)
}

/// The type of alpha and beta for a `cublasComputeType_t`; integers are not supported.
fn scalar_type(compute: c_int) -> Option<Element> {
    match compute {
        64 | 65 => Some(Element::Float16),
        68 | 69 | 74 | 75 | 77 => Some(Element::Float32),
        70 | 71 => Some(Element::Float64),
        _ => None,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cublasGemmStridedBatchedEx(
    handle: usize,
    transpose_a: c_int,
    transpose_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: In<u8>,
    a: u64,
    a_type: c_int,
    leading_a: c_int,
    stride_a: i64,
    b: u64,
    b_type: c_int,
    leading_b: c_int,
    stride_b: i64,
    beta: In<u8>,
    c: u64,
    c_type: c_int,
    leading_c: c_int,
    stride_c: i64,
    batch: c_int,
    compute: c_int,
    _algorithm: c_int,
) -> c_int {
    let Some(scalar_type) = scalar_type(compute) else {
        return BlasStatus::NotSupported as c_int;
    };
    product(
        "cublasGemmStridedBatchedEx",
        &Product {
            handle,
            transposes: [transpose_a, transpose_b],
            sizes: [m, n, k, batch],
            scalars: [alpha, beta],
            matrices: [
                (a, a_type, leading_a, stride_a),
                (b, b_type, leading_b, stride_b),
                (c, c_type, leading_c, stride_c),
            ],
            scalar_type,
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn cublasGemmEx(
    handle: usize,
    transpose_a: c_int,
    transpose_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: In<u8>,
    a: u64,
    a_type: c_int,
    leading_a: c_int,
    b: u64,
    b_type: c_int,
    leading_b: c_int,
    beta: In<u8>,
    c: u64,
    c_type: c_int,
    leading_c: c_int,
    compute: c_int,
    algorithm: c_int,
) -> c_int {
    cublasGemmStridedBatchedEx(
        handle,
        transpose_a,
        transpose_b,
        m,
        n,
        k,
        alpha,
        a,
        a_type,
        leading_a,
        0,
        b,
        b_type,
        leading_b,
        0,
        beta,
        c,
        c_type,
        leading_c,
        0,
        1,
        compute,
        algorithm,
    )
}

/// Products of one type of number: `cublas?gemmStridedBatched` and `cublas?gemm`.
macro_rules! typed_products {
    ($($strided:ident, $single:ident, $code:literal, $element:expr;)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $strided(
            handle: usize,
            transpose_a: c_int,
            transpose_b: c_int,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: In<u8>,
            a: u64,
            leading_a: c_int,
            stride_a: i64,
            b: u64,
            leading_b: c_int,
            stride_b: i64,
            beta: In<u8>,
            c: u64,
            leading_c: c_int,
            stride_c: i64,
            batch: c_int,
        ) -> c_int {
            product(
                stringify!($strided),
                &Product {
                    handle,
                    transposes: [transpose_a, transpose_b],
                    sizes: [m, n, k, batch],
                    scalars: [alpha, beta],
                    matrices: [
                        (a, $code, leading_a, stride_a),
                        (b, $code, leading_b, stride_b),
                        (c, $code, leading_c, stride_c),
                    ],
                    scalar_type: $element,
                },
            )
        }

        #[unsafe(no_mangle)]
        extern "C" fn $single(
            handle: usize,
            transpose_a: c_int,
            transpose_b: c_int,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: In<u8>,
            a: u64,
            leading_a: c_int,
            b: u64,
            leading_b: c_int,
            beta: In<u8>,
            c: u64,
            leading_c: c_int,
        ) -> c_int {
            $strided(
                handle, transpose_a, transpose_b, m, n, k, alpha, a, leading_a, 0, b, leading_b, 0,
                beta, c, leading_c, 0, 1,
            )
        }
    )* };
}

typed_products! {
    cublasSgemmStridedBatched, cublasSgemm_v2, 0, Element::Float32;
    cublasDgemmStridedBatched, cublasDgemm_v2, 1, Element::Float64;
    cublasHgemmStridedBatched, cublasHgemm, 2, Element::Float16;
}
