//! Rounding with error feedback (GPTQ; Frantar and others, 2022), with the Hessian of the layer's
//! output error.
//!
//! Inputs are rounded in order. What rounding the first ones did to the output is made up for in
//! those that remain, as well as they can: the matrix of feedback is unit upper triangular, the
//! scaled `R` of `H = R R^T`. This form, without an inverse, is that of Chee and others (`QuIP`, 2023),
//! who prove that it equals GPTQ. Scales of a group are those of its values with the feedback of the
//! groups before, as in GPTQ with `static_groups` false; inputs stay in their order (`desc_act`
//! false).

use super::{
    cholesky,
    codes::{Band, Codes},
    config::DAMPING,
    grid::{Grid, Step},
    product::{part, product, second_moments},
};
use crate::{Encoding, QuantError};

/// Inputs whose feedback is added up together where a whole row shares a scale; otherwise those of
/// a group.
const BLOCK: usize = 128;
/// How often the damping is raised tenfold before a Hessian is given up.
const ATTEMPTS: usize = 4;

/// Sums of the products of every two inputs: the Hessian of the squared output error, but for a
/// factor.
#[derive(Debug, Clone)]
pub struct Hessian {
    k: usize,
    sums: Vec<f32>,
    rows: usize,
}

impl Hessian {
    /// Of no inputs.
    pub fn new(k: usize) -> Self {
        Self { k, sums: vec![0.0; k * k], rows: 0 }
    }

    /// Adds inputs `[rows, k]`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn add(&mut self, inputs: &[f32]) -> Result<(), QuantError> {
        if inputs.is_empty() {
            return Ok(());
        }
        let products = second_moments(inputs, self.k)?;
        self.sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        self.rows += inputs.len() / self.k;
        Ok(())
    }

    /// Inputs that were added.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// How the error of each input changes the inputs after it.
#[derive(Debug, Clone)]
pub struct Feedback {
    k: usize,
    /// `[k, k]`: what an error in the row's input adds to the column's, above the diagonal.
    factors: Vec<f32>,
}

impl Feedback {
    /// Factorises a Hessian, with 1 % of the mean of its diagonal added to that for inputs that
    /// depend on each other, more where that is not enough. `None` when it has no inputs, or only
    /// zeros.
    ///
    /// # Errors
    /// When values are not finite or the tensor library fails.
    pub fn new(hessian: Hessian) -> Result<Option<Self>, QuantError> {
        let Hessian { k, sums, .. } = hessian;
        let mean = (0..k).map(|i| f64::from(sums[i * k + i])).sum::<f64>() / k as f64;
        if mean == 0.0 {
            return Ok(None);
        }
        let mut damping = DAMPING * mean;
        for _ in 0..ATTEMPTS {
            let mut factors = sums.clone();
            for i in 0..k {
                factors[i * k + i] += damping as f32;
            }
            if cholesky::factorise(&mut factors, k)? {
                let diagonal: Vec<f32> = (0..k).map(|i| factors[i * k + i]).collect();
                for row in factors.chunks_exact_mut(k) {
                    row.iter_mut().zip(&diagonal).for_each(|(factor, by)| *factor /= by);
                }
                return Ok(Some(Self { k, factors }));
            }
            damping *= 10.0;
        }
        Err(QuantError::Hessian { inputs: k })
    }
}

/// Rounds a matrix with feedback.
pub(super) fn round(
    grid: Grid,
    values: &[f32],
    shape: [usize; 2],
    feedback: &Feedback,
    scale_encoding: Encoding,
    threads: usize,
) -> Result<Codes, QuantError> {
    let [n, k] = shape;
    assert_eq!((values.len(), feedback.k), (n * k, k), "values of a matrix [{n}, {k}]");
    if !matches!(grid, Grid::Integer { .. }) {
        return Err(QuantError::NoFeedback { columns: grid.columns(k) });
    }
    let size = if grid.columns(k) == k { BLOCK } else { grid.columns(k) };
    let mut made = Codes::empty(grid, shape, 1.0, scale_encoding);
    // What each value lost, block after block of inputs, `[n, width of the block]` each.
    let mut errors: Vec<Vec<f32>> = Vec::new();
    for start in (0..k).step_by(size) {
        let columns = start..k.min(start + size);
        let width = columns.len();
        let mut added = vec![0.0; n * width];
        for (block, errors) in errors.iter().enumerate() {
            let rows = block * size..(block + 1) * size;
            let factors = part(&feedback.factors, k, rows, columns.clone());
            let more = product(errors, &factors, [n, size, width])?;
            added.iter_mut().zip(more).for_each(|(added, more)| *added += more);
        }
        let factors = part(&feedback.factors, k, columns.clone(), columns.clone());
        let block = Block { grid, start, width, factors: &factors, scale_encoding };
        made.fill(threads, &|mut band| {
            let values = &values[band.first_row * k..(band.first_row + 1) * k];
            let added = &added[band.first_row * width..(band.first_row + 1) * width];
            block.round_row(values, &mut band, added);
        });
        errors.push(block.errors(values, &made));
    }
    Ok(made)
}

/// Some neighbouring inputs.
struct Block<'a> {
    grid: Grid,
    start: usize,
    width: usize,
    /// Feedback among themselves, `[width, width]`.
    factors: &'a [f32],
    scale_encoding: Encoding,
}

impl Block<'_> {
    /// Rounds the inputs of one row; `added` is the feedback of the blocks before.
    fn round_row(&self, values: &[f32], band: &mut Band<'_>, added: &[f32]) {
        let step = self.step(values, band, added);
        let mut changes = added.to_vec();
        let group = self.start / self.grid.columns(values.len());
        (band.scales[group], band.zeros[group]) = (step.scale, step.zero);
        let end = self.start + self.width;
        let codes = &mut band.codes[self.start..end];
        for (i, (&value, code)) in values[self.start..end].iter().zip(codes).enumerate() {
            *code = self.grid.code(value + changes[i], step);
            self.pass_on(i, value - self.grid.value(*code, step), &mut changes);
        }
    }

    /// What each value of the block lost, `[n, width]`.
    fn errors(&self, values: &[f32], made: &Codes) -> Vec<f32> {
        let [_, k] = made.shape;
        let groups = k / self.grid.columns(k);
        let group = self.start / self.grid.columns(k);
        let columns = self.start..self.start + self.width;
        let rows = values.chunks_exact(k).zip(made.values.chunks_exact(k)).enumerate();
        rows.flat_map(|(row, (values, codes))| {
            let at = row * groups + group;
            let step = self.grid.stored_step(made.scales[at], made.zeros[at], 1.0);
            let pairs = values[columns.clone()].iter().zip(&codes[columns.clone()]);
            pairs.map(move |(value, &code)| value - self.grid.value(code, step))
        })
        .collect()
    }

    /// The step of the group that these inputs are, or of the whole row.
    fn step(&self, values: &[f32], band: &Band<'_>, added: &[f32]) -> Step {
        let size = self.grid.columns(values.len());
        if size == values.len() && self.start > 0 {
            return self.grid.stored_step(band.scales[0], band.zeros[0], 1.0);
        }
        let range = |values: &mut dyn Iterator<Item = f32>| {
            values.fold((0.0_f32, 0.0_f32), |(least, most), value| {
                (least.min(value), most.max(value))
            })
        };
        let (least, most) = if size == self.width && size != values.len() {
            let values = &values[self.start..self.start + self.width];
            range(&mut self.unrounded(values, added).into_iter())
        } else {
            range(&mut values.iter().copied())
        };
        self.grid.step(least, most, 1.0, self.scale_encoding)
    }

    /// What the values of the group become if none of them is rounded: the best that they can do
    /// about the errors before.
    fn unrounded(&self, values: &[f32], added: &[f32]) -> Vec<f32> {
        let mut changes = added.to_vec();
        for i in 0..values.len() {
            self.pass_on(i, -changes[i], &mut changes);
        }
        values.iter().zip(changes).map(|(value, change)| value + change).collect()
    }

    /// Adds what the error of input `i` means for those after it.
    fn pass_on(&self, i: usize, error: f32, changes: &mut [f32]) {
        let factors = &self.factors[i * self.width + i + 1..(i + 1) * self.width];
        for (later, factor) in changes[i + 1..].iter_mut().zip(factors) {
            *later += error * factor;
        }
    }
}
