//! Matrix kernels by instruction set: one strip of weights times some rows of activations.
//!
//! A kernel's result for a row is the same whatever other rows it is called with: every tile size
//! performs the same operations in the same order for each row.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use crate::{Activations, Isa, WeightFormat, weight::Layout};

/// Rows that a kernel is called with at most; its results then fit a few KiB of stack.
pub(crate) const MAX_ROWS: usize = 60;
/// Rows of a strip in the widest layout.
pub(crate) const MAX_STRIP_ROWS: usize = 32;

/// The operands of one kernel call.
pub(crate) struct StripCall<'a> {
    pub(crate) format: WeightFormat,
    pub(crate) layout: Layout,
    /// One strip.
    pub(crate) strip: &'a [u8],
    pub(crate) k: usize,
    /// Activations `[_, k]`.
    pub(crate) values: &'a [f32],
    /// Prepared activations, a record per 32 of a row; empty when the kernel reads `values`.
    pub(crate) records: &'a [u8],
    /// Which rows of the activations; at most [`MAX_ROWS`].
    pub(crate) rows: &'a [u32],
}

/// How activations are prepared before the kernel runs, once per row.
#[derive(Clone, Copy)]
pub(crate) struct Prepare {
    /// Bytes of the record of 32 values.
    pub(crate) record: usize,
    /// Turns one row of values into its records.
    ///
    /// # Safety
    /// The CPU has the instruction set that the kernel was picked for.
    pub(crate) row: unsafe fn(values: &[f32], records: &mut [u8]),
}

/// A matrix kernel.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) prepare: Option<Prepare>,
    /// Writes `[rows.len(), strip rows]` results into `out`, which holds zeros.
    ///
    /// # Safety
    /// The CPU has the instruction set that the kernel was picked for.
    pub(crate) run: unsafe fn(&StripCall<'_>, out: &mut [f32]),
}

impl Kernel {
    /// The kernel for a format.
    pub(crate) fn pick(isa: Isa, format: WeightFormat, activations: Activations) -> Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::kernel(format, activations),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::kernel(format, activations),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => neon::kernel(format, activations),
            _ => portable::kernel(format, activations),
        }
    }

    /// Bytes of one prepared row of `k` values.
    pub(crate) fn row_bytes(&self, k: usize) -> usize {
        self.prepare.map_or(0, |p| k.div_ceil(crate::weight::GROUP) * p.record)
    }
}

/// Splits `rows` into tiles of at most `largest`, as equal as possible, and calls `f` with the
/// start and size of each.
fn tiles(rows: usize, largest: usize, mut f: impl FnMut(usize, usize)) {
    let count = rows.div_ceil(largest);
    let mut start = 0;
    for i in 0..count {
        let size = (rows - start) / (count - i);
        f(start, size);
        start += size;
    }
}
