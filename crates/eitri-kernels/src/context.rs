//! What every operation needs: threads, the instruction set in use, the arithmetic of activations.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{KernelError, ThreadPool, ThreadStart};

/// Instruction sets that kernels are written for. Picked once, at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, any CPU.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI, and what `Avx2` names.
    Avx512,
    /// `AArch64` with NEON and the dot-product extension.
    NeonDot,
}

impl Isa {
    const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::NeonDot];

    /// The best one that this CPU has.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Those that this CPU has, the plain one first and the best one last.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }

    /// Name for logs and `eitri inspect`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::NeonDot => "neon-dotprod",
        }
    }
}

/// Arithmetic of the activations that meet a quantised weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// 8-bit integers with one scale per 32 values: fast, about as exact as the weights. Where the
    /// CPU multiplies bf16, activations that meet bf16 or E4M3 weights are rounded to it instead.
    #[default]
    Int8,
    /// f32 throughout: what a weight-only format promises.
    Exact,
}

/// How to set up a [`Context`].
#[derive(Clone)]
pub struct ContextConfig {
    /// Threads that compute, the calling one included; at least 1.
    pub threads: usize,
    /// Arithmetic of activations.
    pub activations: Activations,
    /// Instruction set; `None` detects the best.
    pub isa: Option<Isa>,
    /// Runs on each worker thread before its first job.
    pub on_thread_start: Option<ThreadStart>,
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self { threads: 1, activations: Activations::default(), isa: None, on_thread_start: None }
    }
}

/// Memory for one operation's intermediate values; grows to the largest use and stays.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Quantised activations.
    pub bytes: Vec<u8>,
    /// Scales, sums, attention scores.
    pub floats: Vec<f32>,
    /// Indices.
    pub indices: Vec<u32>,
}

/// Threads, instruction set and scratch memory of one runner. There is no global state.
pub struct Context {
    pool: ThreadPool,
    isa: Isa,
    activations: Activations,
    scratch: Mutex<Scratch>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("threads", &self.pool.threads())
            .field("isa", &self.isa)
            .field("activations", &self.activations)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Starts the threads.
    ///
    /// # Errors
    /// When a thread cannot be started, or the CPU lacks the instruction set that was asked for.
    pub fn new(config: &ContextConfig) -> Result<Self, KernelError> {
        let isa = config.isa.unwrap_or_else(Isa::detect);
        // Kernels rely on this check: they run whatever instructions the context names.
        if !isa.is_available() {
            let what = format!("{} instructions on this CPU", isa.name());
            return Err(KernelError::Unsupported { op: "context", what });
        }
        Ok(Self {
            pool: ThreadPool::new(config.threads, config.on_thread_start.as_ref())?,
            isa,
            activations: config.activations,
            scratch: Mutex::default(),
        })
    }

    /// The threads.
    pub fn pool(&self) -> &ThreadPool {
        &self.pool
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Arithmetic of activations.
    pub fn activations(&self) -> Activations {
        self.activations
    }

    /// Scratch memory; held for the length of one operation.
    pub fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
