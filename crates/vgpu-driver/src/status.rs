//! The results that CUDA's driver API gives (`CUresult` in `cuda.h`).

use std::ffi::{CStr, c_int};

macro_rules! statuses {
    ($($name:ident = $code:literal, $symbol:literal, $words:literal;)*) => {
        /// A result other than success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub(crate) enum Status { $($name = $code),* }

        /// Name and meaning of a code, if it is one.
        pub(crate) fn describe(code: c_int) -> Option<(&'static CStr, &'static CStr)> {
            match code {
                0 => Some((c"CUDA_SUCCESS", c"no error")),
                $($code => Some(($symbol, $words)),)*
                _ => never_given(code).map(|symbol| (symbol, c"an error that this device never gives")),
            }
        }
    };
}

statuses! {
    InvalidValue = 1, c"CUDA_ERROR_INVALID_VALUE", c"an argument is invalid";
    OutOfMemory = 2, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory";
    NotInitialized = 3, c"CUDA_ERROR_NOT_INITIALIZED", c"cuInit was not called";
    InvalidDevice = 101, c"CUDA_ERROR_INVALID_DEVICE", c"no such device";
    InvalidImage = 200, c"CUDA_ERROR_INVALID_IMAGE", c"the module image is invalid";
    InvalidContext = 201, c"CUDA_ERROR_INVALID_CONTEXT", c"no context is current, or the context is invalid";
    NoBinaryForGpu = 209, c"CUDA_ERROR_NO_BINARY_FOR_GPU", c"no kernel image is available for this device";
    InvalidPtx = 218, c"CUDA_ERROR_INVALID_PTX", c"the PTX is invalid";
    UnsupportedPtxVersion = 222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", c"the PTX is of a version newer than this driver";
    FileNotFound = 301, c"CUDA_ERROR_FILE_NOT_FOUND", c"the file was not found";
    InvalidHandle = 400, c"CUDA_ERROR_INVALID_HANDLE", c"a handle is invalid";
    IllegalState = 401, c"CUDA_ERROR_ILLEGAL_STATE", c"an object is in a state that does not allow the call";
    NotFound = 500, c"CUDA_ERROR_NOT_FOUND", c"the name was not found";
    NotReady = 600, c"CUDA_ERROR_NOT_READY", c"the work is not complete";
    IllegalAddress = 700, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was made";
    LaunchOutOfResources = 701, c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources were asked for at launch";
    LaunchTimeout = 702, c"CUDA_ERROR_LAUNCH_TIMEOUT", c"the kernel did not end";
    ContextIsDestroyed = 709, c"CUDA_ERROR_CONTEXT_IS_DESTROYED", c"the context was destroyed";
    MisalignedAddress = 716, c"CUDA_ERROR_MISALIGNED_ADDRESS", c"an address is misaligned";
    LaunchFailed = 719, c"CUDA_ERROR_LAUNCH_FAILED", c"the kernel failed";
    CooperativeLaunchTooLarge = 720, c"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", c"a cooperative launch has more blocks than fit";
    NotPermitted = 800, c"CUDA_ERROR_NOT_PERMITTED", c"the call is not permitted here";
    NotSupported = 801, c"CUDA_ERROR_NOT_SUPPORTED", c"the call is not supported";
    StreamCaptureUnsupported = 900, c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", c"the call is not permitted while a stream captures";
    StreamCaptureInvalidated = 901, c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", c"the capture was invalidated by an earlier error";
    StreamCaptureMerge = 902, c"CUDA_ERROR_STREAM_CAPTURE_MERGE", c"two separate captures would be merged";
    StreamCaptureUnmatched = 903, c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", c"the capture did not begin in this stream";
    StreamCaptureUnjoined = 904, c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", c"a forked stream was not joined to the origin of the capture";
    StreamCaptureIsolation = 905, c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION", c"captured work would depend on work that is not captured";
    StreamCaptureImplicit = 906, c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", c"the legacy stream would wait for a capturing stream";
    CapturedEvent = 907, c"CUDA_ERROR_CAPTURED_EVENT", c"the event was last recorded in a capturing stream";
    StreamCaptureWrongThread = 908, c"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", c"another thread began the capture";
    GraphExecUpdateFailure = 910, c"CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", c"the graph differs too much to update";
    Unknown = 999, c"CUDA_ERROR_UNKNOWN", c"an unknown error";
}

/// Names of the codes that CUDA has besides.
fn never_given(code: c_int) -> Option<&'static CStr> {
    Some(match code {
        4 => c"CUDA_ERROR_DEINITIALIZED",
        5 => c"CUDA_ERROR_PROFILER_DISABLED",
        6 => c"CUDA_ERROR_PROFILER_NOT_INITIALIZED",
        7 => c"CUDA_ERROR_PROFILER_ALREADY_STARTED",
        8 => c"CUDA_ERROR_PROFILER_ALREADY_STOPPED",
        34 => c"CUDA_ERROR_STUB_LIBRARY",
        46 => c"CUDA_ERROR_DEVICE_UNAVAILABLE",
        100 => c"CUDA_ERROR_NO_DEVICE",
        102 => c"CUDA_ERROR_DEVICE_NOT_LICENSED",
        202 => c"CUDA_ERROR_CONTEXT_ALREADY_CURRENT",
        205 => c"CUDA_ERROR_MAP_FAILED",
        206 => c"CUDA_ERROR_UNMAP_FAILED",
        207 => c"CUDA_ERROR_ARRAY_IS_MAPPED",
        208 => c"CUDA_ERROR_ALREADY_MAPPED",
        210 => c"CUDA_ERROR_ALREADY_ACQUIRED",
        211 => c"CUDA_ERROR_NOT_MAPPED",
        212 => c"CUDA_ERROR_NOT_MAPPED_AS_ARRAY",
        213 => c"CUDA_ERROR_NOT_MAPPED_AS_POINTER",
        214 => c"CUDA_ERROR_ECC_UNCORRECTABLE",
        215 => c"CUDA_ERROR_UNSUPPORTED_LIMIT",
        216 => c"CUDA_ERROR_CONTEXT_ALREADY_IN_USE",
        217 => c"CUDA_ERROR_PEER_ACCESS_UNSUPPORTED",
        219 => c"CUDA_ERROR_INVALID_GRAPHICS_CONTEXT",
        220 => c"CUDA_ERROR_NVLINK_UNCORRECTABLE",
        221 => c"CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
        223 => c"CUDA_ERROR_JIT_COMPILATION_DISABLED",
        224 => c"CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY",
        300 => c"CUDA_ERROR_INVALID_SOURCE",
        302 => c"CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND",
        303 => c"CUDA_ERROR_SHARED_OBJECT_INIT_FAILED",
        304 => c"CUDA_ERROR_OPERATING_SYSTEM",
        703 => c"CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING",
        704 => c"CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED",
        705 => c"CUDA_ERROR_PEER_ACCESS_NOT_ENABLED",
        708 => c"CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE",
        710 => c"CUDA_ERROR_ASSERT",
        711 => c"CUDA_ERROR_TOO_MANY_PEERS",
        712 => c"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
        713 => c"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
        714 => c"CUDA_ERROR_HARDWARE_STACK_ERROR",
        715 => c"CUDA_ERROR_ILLEGAL_INSTRUCTION",
        717 => c"CUDA_ERROR_INVALID_ADDRESS_SPACE",
        718 => c"CUDA_ERROR_INVALID_PC",
        802 => c"CUDA_ERROR_SYSTEM_NOT_READY",
        803 => c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        804 => c"CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        805 => c"CUDA_ERROR_MPS_CONNECTION_FAILED",
        806 => c"CUDA_ERROR_MPS_RPC_FAILURE",
        807 => c"CUDA_ERROR_MPS_SERVER_NOT_READY",
        808 => c"CUDA_ERROR_MPS_MAX_CLIENTS_REACHED",
        809 => c"CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED",
        909 => c"CUDA_ERROR_TIMEOUT",
        911 => c"CUDA_ERROR_EXTERNAL_DEVICE",
        _ => return None,
    })
}

pub(crate) type Result<T> = std::result::Result<T, Status>;

/// What a C function returns for a result.
pub(crate) fn code(result: Result<()>) -> c_int {
    result.map_or_else(|status| status as c_int, |()| 0)
}
