//! What several test files need: the CUDA compiler if there is one, and arrays on the device.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use vgpu::{Checks, Config, Gpu, Kind, Schedule};

/// The compiler: of `CUDA_HOME`, or of the folder that `cargo xtask cuda` installs into.
pub(crate) fn nvcc() -> Option<PathBuf> {
    if let Some(home) = std::env::var_os("CUDA_HOME") {
        let path = Path::new(&home).join("bin/nvcc");
        return path.exists().then_some(path);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../local/cuda");
    let path = root.join("nvidia/cu13/bin/nvcc");
    // Tests that skip themselves because a folder has moved would go unnoticed.
    assert!(path.exists() || !root.exists(), "no compiler at {}", path.display());
    path.exists().then_some(path)
}

/// The PTX of a file in `tests/kernels`, or nothing without a compiler.
pub(crate) fn compile(name: &str) -> Option<String> {
    let Some(nvcc) = nvcc() else {
        eprintln!("skipped: no CUDA compiler; `cargo xtask cuda` installs one");
        return None;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
    let target = tempfile::tempdir().unwrap();
    let ptx = target.path().join("kernel.ptx");
    let output = Command::new(nvcc)
        .args(["-std=c++17", "-O3", "-lineinfo", "-arch=compute_110a", "-ptx", "-o"])
        .arg(&ptx)
        .arg(folder.join(format!("{name}.cu")))
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read_to_string(ptx).unwrap())
}

/// A device with some checks in one schedule.
pub(crate) fn device(schedule: Schedule, checks: Checks) -> Gpu {
    Gpu::new(Config {
        threads: 1,
        checks,
        schedule,
        instruction_limit: 400_000,
        ..Config::default()
    })
    .unwrap()
}

/// Puts values on the device.
pub(crate) fn upload<T: bytemuck::NoUninit>(gpu: &Gpu, values: &[T]) -> u64 {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let address = gpu.memory().alloc(bytes.len() as u64, 16, Kind::Device).unwrap();
    gpu.memory().write(address, bytes).unwrap();
    address
}

/// Room for values that nothing has written.
pub(crate) fn room<T>(gpu: &Gpu, count: usize) -> u64 {
    let bytes = (count * size_of::<T>()) as u64;
    gpu.memory().alloc(bytes, 16, Kind::Device).unwrap()
}

/// Values from the device.
pub(crate) fn download<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
    gpu: &Gpu,
    address: u64,
    count: usize,
) -> Vec<T> {
    let mut values = vec![T::zeroed(); count];
    gpu.memory().read(address, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

/// The parameter buffer of pointers followed by 32-bit numbers.
pub(crate) fn params(pointers: &[u64], numbers: &[i32]) -> Vec<u8> {
    let mut buffer: Vec<u8> = pointers.iter().flat_map(|p| p.to_le_bytes()).collect();
    buffer.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    buffer
}
