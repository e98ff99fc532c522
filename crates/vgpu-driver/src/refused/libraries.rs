//! `libcublasLt`, `libnvrtc`, and what `libcurand` has besides.

#![allow(non_snake_case, reason = "the names are those of the C header")]

use std::ffi::{c_char, c_int};

use super::{refuse, refused};

/// `CUBLAS_STATUS_NOT_SUPPORTED`.
const BLAS_NOT_SUPPORTED: c_int = 15;

/// `CURAND_STATUS_TYPE_ERROR`: the library has no code for what is not supported.
const RANDOM_TYPE_ERROR: c_int = 103;

/// `NVRTC_ERROR_INTERNAL_ERROR`: the library has no code for what is not supported.
const COMPILER_INTERNAL_ERROR: c_int = 11;

refuse! {
    BLAS_NOT_SUPPORTED;
    cublasLtCreate cublasLtDestroy cublasLtEmulationDescCreate cublasLtEmulationDescDestroy
    cublasLtEmulationDescGetAttribute cublasLtEmulationDescInit_internal
    cublasLtEmulationDescSetAttribute cublasLtGetProperty cublasLtHeuristicsCacheGetCapacity
    cublasLtHeuristicsCacheSetCapacity cublasLtLoggerForceDisable cublasLtLoggerOpenFile
    cublasLtLoggerSetCallback cublasLtLoggerSetFile cublasLtLoggerSetLevel cublasLtLoggerSetMask
    cublasLtMatmul cublasLtMatmulAlgoCapGetAttribute cublasLtMatmulAlgoCheck
    cublasLtMatmulAlgoConfigGetAttribute cublasLtMatmulAlgoConfigSetAttribute
    cublasLtMatmulAlgoGetHeuristic cublasLtMatmulAlgoGetIds cublasLtMatmulAlgoInit
    cublasLtMatmulDescCreate cublasLtMatmulDescDestroy cublasLtMatmulDescGetAttribute
    cublasLtMatmulDescInit_internal cublasLtMatmulDescSetAttribute cublasLtMatmulPreferenceCreate
    cublasLtMatmulPreferenceDestroy cublasLtMatmulPreferenceGetAttribute
    cublasLtMatmulPreferenceInit_internal cublasLtMatmulPreferenceSetAttribute
    cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy cublasLtMatrixLayoutGetAttribute
    cublasLtMatrixLayoutInit_internal cublasLtMatrixLayoutSetAttribute cublasLtMatrixTransform
    cublasLtMatrixTransformDescCreate cublasLtMatrixTransformDescDestroy
    cublasLtMatrixTransformDescGetAttribute cublasLtMatrixTransformDescInit_internal
    cublasLtMatrixTransformDescSetAttribute
}

refuse! {
    RANDOM_TYPE_ERROR;
    curandCreateGeneratorHost curandCreatePoissonDistribution curandDestroyDistribution
    curandGenerateLongLong curandGeneratePoisson curandGeneratePoissonMethod curandGenerateSeeds
    curandGetDirectionVectors32 curandGetDirectionVectors64 curandGetProperty
    curandGetScrambleConstants32 curandGetScrambleConstants64 curandGetVersion
    curandSetGeneratorOrdering curandSetQuasiRandomGeneratorDimensions
}

refuse! {
    COMPILER_INTERNAL_ERROR;
    nvrtcAddNameExpression nvrtcCompileProgram nvrtcCreateProgram nvrtcDestroyProgram
    nvrtcGetCUBIN nvrtcGetCUBINSize nvrtcGetLTOIR nvrtcGetLTOIRSize nvrtcGetLoweredName
    nvrtcGetNumSupportedArchs nvrtcGetOptiXIR nvrtcGetOptiXIRSize nvrtcGetPTX nvrtcGetPTXSize
    nvrtcGetProgramLog nvrtcGetProgramLogSize nvrtcGetSupportedArchs nvrtcVersion
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtGetStatusName(_status: c_int) -> *const c_char {
    c"CUBLAS_STATUS_NOT_SUPPORTED".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtGetStatusString(_status: c_int) -> *const c_char {
    c"not part of the virtual GPU".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn nvrtcGetErrorString(_result: c_int) -> *const c_char {
    c"the virtual GPU has no compiler; compile to PTX with nvcc".as_ptr()
}

/// 0, as no release of the library has it.
#[unsafe(no_mangle)]
extern "C" fn cublasLtGetVersion() -> usize {
    refused("cublasLtGetVersion", 0) as usize
}

/// 0, as no release of the library has it.
#[unsafe(no_mangle)]
extern "C" fn cublasLtGetCudartVersion() -> usize {
    refused("cublasLtGetCudartVersion", 0) as usize
}
