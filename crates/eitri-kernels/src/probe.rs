//! Start-up probes: every kernel is compared with its plain reference on this very machine.

use candle_core::{DType, Device, Tensor};

use crate::{
    Activations, Context, KernelError, Weight, WeightFormat,
    ops::{kernel_name, linear},
    read,
    reference::{CanonicalRows, Random, relative_difference},
};

/// The outcome of one probe that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeReport {
    /// The kernel, as `eitri inspect` names it.
    pub kernel: &'static str,
    /// What was computed: format, arithmetic and shape.
    pub case: String,
    /// Largest difference from the reference, as a share of the largest reference value.
    pub difference: f32,
    /// The largest difference that is accepted.
    pub tolerance: f32,
}

impl ProbeReport {
    /// Accepts or refuses a kernel by its difference from the reference.
    ///
    /// # Errors
    /// [`KernelError::Probe`] when `difference` is above `tolerance` or not a number.
    pub fn judge(
        kernel: &'static str,
        case: String,
        difference: f32,
        tolerance: f32,
    ) -> Result<Self, KernelError> {
        if difference <= tolerance {
            return Ok(Self { kernel, case, difference, tolerance });
        }
        let detail = format!("{case}: relative difference {difference:e} above {tolerance:e}");
        Err(KernelError::Probe { kernel, detail })
    }
}

/// Compares every kernel that `ctx` would use with its reference, in some ten milliseconds.
///
/// # Errors
/// [`KernelError::Probe`] naming the first kernel that fails.
pub fn probe(ctx: &Context) -> Result<Vec<ProbeReport>, KernelError> {
    let mut reports = Vec::new();
    for format in WeightFormat::ALL {
        probe_linear(ctx, format, &mut reports)?;
    }
    crate::ops::attention::probe(ctx, &mut reports)?;
    Ok(reports)
}

/// More rows than any kernel multiplies without unpacking weights first.
const MANY_ROWS: usize = 40;

/// One row, a few, and as many as kernels unpack their weights for: rests of tiles are met in each.
fn probe_linear(
    ctx: &Context,
    format: WeightFormat,
    reports: &mut Vec<ProbeReport>,
) -> Result<(), KernelError> {
    let (n, k) = (24, format.group().max(64));
    let Some(rows) = CanonicalRows::random(format, n, k, 1) else { return Ok(()) };
    let w = Weight::pack(ctx, format, n, k, 1, &rows)?;
    let values = Random::new(2).values(MANY_ROWS * k);
    let x = Tensor::from_slice(&values, (MANY_ROWS, k), &Device::Cpu)?;
    let expected = rows.product(0..n, &values);
    for m in [1, 7, MANY_ROWS] {
        let y = Tensor::zeros((MANY_ROWS, n), DType::F32, &Device::Cpu)?;
        linear(ctx, &w, &x, m, &y, 0)?;
        let difference = read::<f32, _>(&y, |y| relative_difference(&y[..m * n], &expected))?;
        // f32 sums differ by their order; 8-bit activations by half a step of 1/127 at most.
        let tolerance = match ctx.activations() {
            Activations::Exact => 1e-5,
            Activations::Int8 => 2e-2,
        };
        let case = format!("{} x {m} rows", format.name());
        reports.push(ProbeReport::judge(kernel_name(ctx, format), case, difference, tolerance)?);
    }
    Ok(())
}
