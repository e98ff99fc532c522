//! What is kept of the inputs of a module.

use eitri_quant::scheme::Hessian;

use crate::ModelError;

/// Rows of the sample on which scales are tried out.
const SAMPLE_ROWS: usize = 256;

/// Which parts of [`Inputs`] are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) hessian: bool,
    pub(super) sample: bool,
}

/// Inputs of the modules of one point.
pub(super) struct Inputs {
    k: usize,
    rows: usize,
    /// Every so many rows one is taken into the sample.
    stride: usize,
    /// Sums of magnitudes.
    magnitudes: Vec<f64>,
    pub(super) largest: f32,
    pub(super) sample: Vec<f32>,
    pub(super) hessian: Option<Hessian>,
    wants_sample: bool,
}

impl Inputs {
    /// Of about `expected` rows of `k`.
    pub(super) fn new(k: usize, expected: usize, wanted: Wanted) -> Self {
        Self {
            k,
            rows: 0,
            stride: (expected / SAMPLE_ROWS).max(1),
            magnitudes: vec![0.0; k],
            largest: 0.0,
            sample: Vec::new(),
            hessian: wanted.hessian.then(|| Hessian::new(k)),
            wants_sample: wanted.sample,
        }
    }

    /// Adds rows.
    pub(super) fn add(&mut self, rows: &[f32]) -> Result<(), ModelError> {
        for row in rows.chunks_exact(self.k) {
            for (sum, x) in self.magnitudes.iter_mut().zip(row) {
                *sum += f64::from(x.abs());
                self.largest = self.largest.max(x.abs());
            }
            let is_sampled = self.wants_sample
                && self.rows.is_multiple_of(self.stride)
                && self.sample.len() < SAMPLE_ROWS * self.k;
            if is_sampled {
                self.sample.extend_from_slice(row);
            }
            self.rows += 1;
        }
        if let Some(hessian) = &mut self.hessian {
            hessian.add(rows)?;
        }
        Ok(())
    }

    /// Rows that were added.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Mean magnitude of each input.
    pub(super) fn means(&self) -> Vec<f32> {
        let rows = self.rows.max(1) as f64;
        self.magnitudes.iter().map(|sum| (sum / rows) as f32).collect()
    }
}
