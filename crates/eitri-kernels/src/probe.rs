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

/// Compares every kernel that `ctx` would use with its reference, in a few milliseconds.
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

/// One, two and seven rows, so that every tile size of a kernel's remainder is met.
fn probe_linear(
    ctx: &Context,
    format: WeightFormat,
    reports: &mut Vec<ProbeReport>,
) -> Result<(), KernelError> {
    let (n, k) = (24, format.group().max(64));
    let Some(rows) = CanonicalRows::random(format, n, k, 1) else { return Ok(()) };
    let w = Weight::pack(ctx, format, n, k, 1, &rows)?;
    let values = Random::new(2).values(7 * k);
    let x = Tensor::from_slice(&values, (7, k), &Device::Cpu)?;
    let expected = rows.product(0..n, &values);
    for m in [1, 2, 7] {
        let y = Tensor::zeros((7, n), DType::F32, &Device::Cpu)?;
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
