//! Scaling inputs before rounding (AWQ; Lin and others, 2023): those with larger activations get
//! finer steps. The scales are folded into whatever makes the inputs.
//!
//! For each of 20 ratios `r` the scales are `mean |x|^r / (mean |w|^(1 - r) + 1e-4)`, as in `AutoAWQ`
//! with `duo_scaling`, and the one with the least squared error of the modules' outputs on sample
//! inputs is taken. `AutoAWQ` measures behind the attention and feed-forward blocks instead, and
//! also clips the ranges of groups, which is not done here.

use super::{Scheme, product::product_transposed};
use crate::{Encoding, QuantError};

/// Steps of the exponent of activations.
const RATIOS: usize = 20;
/// Keeps scales of inputs whose weights are small in bounds.
const LEAST_WEIGHT: f32 = 1e-4;

/// Modules `[n, k]` that have the same inputs.
#[derive(Debug)]
pub struct ScaleSearch<'a> {
    /// Values of each module.
    pub modules: &'a [&'a [f32]],
    /// Their inputs.
    pub k: usize,
    /// Mean magnitude of each input.
    pub means: &'a [f32],
    /// Some inputs `[rows, k]`.
    pub sample: &'a [f32],
    /// The type of the scales of groups.
    pub scales: Encoding,
    /// Threads that compute.
    pub threads: usize,
}

/// The factor of each input that leaves the least error. It may be 1 for all.
///
/// # Errors
/// When the tensor library fails.
pub fn search_scales(scheme: &Scheme, search: &ScaleSearch<'_>) -> Result<Vec<f32>, QuantError> {
    let weights = search.mean_weights(scheme);
    let mut best = (search.error(scheme, &vec![1.0; search.k])?, vec![1.0; search.k]);
    for step in 0..RATIOS {
        let ratio = step as f32 / RATIOS as f32;
        let of_input = |(&x, &w): (&f32, &f32)| {
            (x.powf(ratio) / (w.powf(1.0 - ratio) + LEAST_WEIGHT)).max(LEAST_WEIGHT)
        };
        let mut factors: Vec<f32> = search.means.iter().zip(&weights).map(of_input).collect();
        let most = factors.iter().copied().fold(0.0, f32::max);
        let least = factors.iter().copied().fold(f32::MAX, f32::min);
        let middle = (most * least).sqrt();
        for factor in &mut factors {
            *factor /= middle;
        }
        if factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
            let error = search.error(scheme, &factors)?;
            if error < best.0 {
                best = (error, factors);
            }
        }
    }
    Ok(best.1)
}

impl ScaleSearch<'_> {
    /// Mean magnitude of the weights of each input, relative to the largest of their group.
    fn mean_weights(&self, scheme: &Scheme) -> Vec<f32> {
        let mut sums = vec![0.0_f64; self.k];
        let mut rows = 0;
        let size = scheme.grid.columns(self.k);
        for row in self.modules.iter().flat_map(|module| module.chunks_exact(self.k)) {
            for (sums, group) in sums.chunks_mut(size).zip(row.chunks(size)) {
                let largest = group.iter().fold(f32::MIN_POSITIVE, |most, w| most.max(w.abs()));
                for (sum, w) in sums.iter_mut().zip(group) {
                    *sum += f64::from(w.abs() / largest);
                }
            }
            rows += 1;
        }
        sums.iter().map(|sum| (sum / f64::from(rows.max(1))) as f32).collect()
    }

    /// Squared error of the outputs on the sample with these factors.
    fn error(&self, scheme: &Scheme, factors: &[f32]) -> Result<f64, QuantError> {
        let k = self.k;
        let mut error = 0.0;
        for module in self.modules {
            let scaled: Vec<f32> = module
                .chunks_exact(k)
                .flat_map(|row| row.iter().zip(factors).map(|(w, factor)| w * factor))
                .collect();
            let n = module.len() / k;
            let codes = scheme.round(&scaled, [n, k], 0.0, self.scales, self.threads);
            let mut differences = scaled;
            let mut decoded = vec![0.0; k];
            for (i, (row, module)) in
                differences.chunks_exact_mut(k).zip(module.chunks_exact(k)).enumerate()
            {
                codes.decode_row(i, &mut decoded);
                let values = decoded.iter().zip(factors).zip(module);
                for (difference, ((decoded, factor), value)) in row.iter_mut().zip(values) {
                    *difference = decoded / factor - value;
                }
            }
            let rows = self.sample.len() / k;
            let outputs = product_transposed(self.sample, &differences, [rows, k, n])?;
            error += outputs.iter().map(|&y| f64::from(y) * f64::from(y)).sum::<f64>();
        }
        Ok(error)
    }
}
