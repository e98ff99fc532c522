//! Products with weights.

use std::{hint::black_box, time::Instant};

use candle_core::{DType, Device, Tensor};

use crate::{
    Context, KernelError, RowSource, Weight, WeightFormat,
    ops::linear,
    reference::{CanonicalRows, Random},
};

/// Bytes of weights that are read in turn, so that no cache keeps them.
const SET_BYTES: usize = 256 << 20;
const PREFILL_ROWS: usize = 512;

/// Rates of one format and shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearRates {
    /// Bytes of packed weights read per second by a product with one row, 10^9.
    pub one_row_gbps: f64,
    /// Multiply-adds per second with 8 rows, 10^9.
    pub eight_rows_gmacs: f64,
    /// Multiply-adds per second with 512 rows, 10^9.
    pub prefill_gmacs: f64,
}

/// The same few random rows again and again: kernels do not care, and making them is quick.
struct Repeated(CanonicalRows);

impl RowSource for Repeated {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        self.0.row(row % 16, out)
    }
}

/// Measures matrices `[n, k]` of a format, best of three passes over 256 MiB of them; none where `k`
/// is no multiple of its group.
///
/// # Errors
/// When the kernels fail.
pub fn linear_rates(
    ctx: &Context,
    format: WeightFormat,
    n: usize,
    k: usize,
) -> Result<Option<LinearRates>, KernelError> {
    if !k.is_multiple_of(format.group()) {
        return Ok(None);
    }
    let Some(rows) = CanonicalRows::random(format, 16, k, 1) else { return Ok(None) };
    let source = Repeated(rows);
    let count = (SET_BYTES / Weight::packed_bytes(ctx.isa(), format, n, k, 1)).max(2);
    let set = (0..count)
        .map(|_| Weight::pack(ctx, format, n, k, 1, &source))
        .collect::<Result<Vec<_>, _>>()?;
    let values = Random::new(3).values(PREFILL_ROWS * k);
    let x = Tensor::from_vec(values, (PREFILL_ROWS, k), &Device::Cpu)?;
    let y = Tensor::zeros((PREFILL_ROWS, n), DType::F32, &Device::Cpu)?;
    let pass = |rows: usize, matrices: usize| -> Result<f64, KernelError> {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            for w in &set[..matrices.min(count)] {
                linear(ctx, w, &x, rows, black_box(&y), 0)?;
            }
            best = best.min(start.elapsed().as_secs_f64() / matrices.min(count) as f64);
        }
        Ok(best)
    };
    let macs = (n * k) as f64 * 1e-9;
    Ok(Some(LinearRates {
        one_row_gbps: set[0].bytes() as f64 * 1e-9 / pass(1, count)?,
        eight_rows_gmacs: 8.0 * macs / pass(8, count / 2)?,
        prefill_gmacs: PREFILL_ROWS as f64 * macs / pass(PREFILL_ROWS, 8)?,
    }))
}
