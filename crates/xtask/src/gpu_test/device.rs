//! Which device the tests run on.

use std::{
    fmt::{self, Display, Formatter},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Asks the driver itself, so that a library without a device does not count.
const PROBE: &str = "\
import ctypes, sys
try:
    cuda = ctypes.CDLL('libcuda.so.1')
except OSError:
    sys.exit(1)
count = ctypes.c_int(0)
found = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
sys.exit(0 if found and count.value > 0 else 1)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Real,
    Virtual,
}

impl Device {
    /// The value of `EITRI_GPU`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        }
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What `EITRI_GPU` says; without it a real device if there is one.
pub(super) fn choose() -> Result<Device> {
    match std::env::var("EITRI_GPU").as_deref() {
        Ok("real") => Ok(Device::Real),
        Ok("virtual") => Ok(Device::Virtual),
        Ok(other) => bail!("EITRI_GPU={other:?}; it may be real or virtual"),
        Err(_) => {
            let probe = Command::new("python3").args(["-c", PROBE]).status();
            let found = probe.context("cannot run python3 to look for a device")?.success();
            Ok(if found { Device::Real } else { Device::Virtual })
        }
    }
}
