//! A GPU made of software, to test CUDA code on machines that have none.
//!
//! It runs PTX, the text that the compiler ships, warp by warp on the CPU, and reports what
//! hardware hides: accesses out of bounds, undefined values, races, missing fences, barriers that
//! disagree. It is test equipment: right before fast, and never so lenient that wrong code passes.
//! What it cannot know is listed in the crate's README.
//!
//! # Example
//! ```
//! let ptx = "
//! .version 9.0
//! .target sm_110a
//! .address_size 64
//! .visible .entry twice(.param .u64 data)
//! {
//!     .reg .b32 %r<3>;
//!     .reg .b64 %rd<4>;
//!     ld.param.u64 %rd1, [data];
//!     mov.u32 %r1, %tid.x;
//!     mul.wide.u32 %rd2, %r1, 4;
//!     add.s64 %rd3, %rd1, %rd2;
//!     ld.global.u32 %r2, [%rd3];
//!     add.u32 %r2, %r2, %r2;
//!     st.global.u32 [%rd3], %r2;
//!     ret;
//! }";
//! let gpu = vgpu::Gpu::new(vgpu::Config::default())?;
//! let module = gpu.load(&vgpu::Module::parse(ptx)?)?;
//! let data = gpu.memory().alloc(128, 4, vgpu::Kind::Device)?;
//! gpu.memory().fill(data, &7u32.to_le_bytes(), 32)?;
//! let launch = vgpu::Launch::new([1, 1, 1], [32, 1, 1]);
//! gpu.launch(&module.kernel("twice")?, &launch, &data.to_le_bytes())?;
//! let mut word = [0; 4];
//! gpu.memory().read(data + 124, &mut word)?;
//! assert_eq!(u32::from_le_bytes(word), 14);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(
    clippy::result_large_err,
    reason = "a launch fails once, and its caller wants the whole fault"
)]

mod check;
mod config;
mod counters;
mod decode;
mod error;
mod exec;
mod gpu;
mod kernel;
mod limits;
mod memory;
pub mod model;
mod numeric;
mod program;
mod ptx;
mod registers;
mod schedule;

pub use config::{Checks, Config, Copies, Device, Numeric, Order, Schedule};
pub use counters::{Counters, InstructionClass, SpaceTraffic};
pub use decode::forms;
pub use error::{Fault, FaultKind, MemoryError, PtxError};
pub use gpu::{Gpu, Launch, Report};
pub use kernel::{Global, Kernel, LoadedModule, Parameter};
pub use memory::{Allocation, Kind, Memory, MemoryInfo};
pub use ptx::Module;
