//! A stand-in for NVIDIA's `libcuda`, `libcublas`, `libcublasLt`, `libcurand` and `libnvrtc`.
//!
//! One shared library with their C symbols, put under their names into a folder that the loader
//! searches (`cargo xtask gpu-test` does it). Programs that use the CUDA driver API, such as candle
//! through cudarc, then run unchanged on the virtual GPU of the crate `vgpu`. They see one device
//! with the properties of NVIDIA Jetson AGX Thor.
//!
//! What is not supported is refused with the error code that CUDA has for it and a line on standard
//! error; nothing is silently ignored that would change a result. The README lists it, and the
//! environment variables that choose checks, schedules and reports.

#![allow(unsafe_code, reason = "a C interface: symbols, and pointers that callers pass")]

mod api;
mod blas;
mod capture;
mod context;
mod event;
mod fault;
mod graph;
mod launch;
mod memory;
mod module;
mod pointer;
mod queue;
mod random;
mod refused;
mod report;
mod resources;
mod settings;
mod state;
mod status;
mod stream;
mod work;
