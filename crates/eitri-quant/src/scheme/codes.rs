//! A matrix as codes and scales, before any producer's layout.

use std::thread;

use super::grid::{Grid, Step};
use crate::Encoding;

/// Codes of a matrix, one to a byte, with the scales and zeros that give them their meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    pub(super) grid: Grid,
    pub(super) shape: [usize; 2],
    /// The type that stores the scales.
    pub(super) scale_encoding: Encoding,
    /// Codes `[n, k]`.
    pub(super) values: Vec<u8>,
    /// `[rows of scales, columns of scales]`, exactly as stored.
    pub(super) scales: Vec<f32>,
    /// As many as scales.
    pub(super) zeros: Vec<u8>,
    pub(super) tensor_scale: f32,
}

/// Rows that share scales, to be filled in.
pub(super) struct Band<'a> {
    /// Number of its first row.
    pub(super) first_row: usize,
    pub(super) codes: &'a mut [u8],
    pub(super) scales: &'a mut [f32],
    pub(super) zeros: &'a mut [u8],
}

impl Codes {
    pub(super) fn empty(
        grid: Grid,
        shape: [usize; 2],
        tensor_scale: f32,
        scale_encoding: Encoding,
    ) -> Self {
        let [rows, columns] = grid.scales(shape);
        Self {
            grid,
            shape,
            scale_encoding,
            values: vec![0; shape[0] * shape[1]],
            scales: vec![0.0; rows * columns],
            zeros: vec![0; rows * columns],
            tensor_scale,
        }
    }

    pub(super) fn round(
        grid: Grid,
        values: &[f32],
        shape: [usize; 2],
        largest: f32,
        scale_encoding: Encoding,
        threads: usize,
    ) -> Self {
        let [n, k] = shape;
        assert_eq!(values.len(), n * k, "values of a matrix [{n}, {k}]");
        let tensor = grid.tensor_scale(largest);
        let mut made = Self::empty(grid, shape, tensor, scale_encoding);
        made.fill(threads, &|band| {
            let rows = band.codes.len() / k;
            let values = &values[band.first_row * k..(band.first_row + rows) * k];
            round_band(grid, values, k, (tensor, scale_encoding), band);
        });
        made
    }

    /// Calls `fill` for every band, an equal share on each thread.
    pub(super) fn fill(&mut self, threads: usize, fill: &(impl Fn(Band<'_>) + Sync)) {
        let k = self.shape[1];
        let rows = self.grid.rows();
        let [bands, columns] = self.grid.scales(self.shape);
        let share = bands.div_ceil(threads.max(1)).max(1);
        thread::scope(|scope| {
            let codes = self.values.chunks_mut(share * rows * k);
            let scales = self.scales.chunks_mut(share * columns);
            let zeros = self.zeros.chunks_mut(share * columns);
            for (i, ((codes, scales), zeros)) in codes.zip(scales).zip(zeros).enumerate() {
                scope.spawn(move || {
                    let codes = codes.chunks_mut(rows * k);
                    let scales = scales.chunks_mut(columns).zip(zeros.chunks_mut(columns));
                    for (j, (codes, (scales, zeros))) in codes.zip(scales).enumerate() {
                        let first_row = (i * share + j) * rows;
                        fill(Band { first_row, codes, scales, zeros });
                    }
                });
            }
        });
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The values of a row, in the arithmetic of this crate's reader.
    ///
    /// # Panics
    /// When `out` is not as long as a row.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        let [_, k] = self.shape;
        assert_eq!(out.len(), k, "values of a row");
        let [_, columns] = self.grid.scales(self.shape);
        let first = row / self.grid.rows() * columns;
        let size = self.grid.columns(k);
        let codes = self.values[row * k..(row + 1) * k].chunks(size);
        for (i, (codes, out)) in codes.zip(out.chunks_mut(size)).enumerate() {
            let (scale, zero) = (self.scales[first + i], self.zeros[first + i]);
            let step = self.grid.stored_step(scale, zero, self.tensor_scale);
            for (&code, out) in codes.iter().zip(out) {
                *out = self.grid.value(code, step);
            }
        }
    }
}

/// Rounds the rows of a band to the nearest.
fn round_band(
    grid: Grid,
    values: &[f32],
    k: usize,
    (tensor, scale_encoding): (f32, Encoding),
    band: Band<'_>,
) {
    let size = grid.columns(k);
    for (column, (scale, zero)) in band.scales.iter_mut().zip(band.zeros).enumerate() {
        let range = column * size..k.min((column + 1) * size);
        let parts = || values.chunks_exact(k).flat_map(|row| &row[range.clone()]);
        let (least, most) = parts()
            .fold((0.0_f32, 0.0_f32), |(least, most), &value| (least.min(value), most.max(value)));
        let step = grid.step(least, most, tensor, scale_encoding);
        (*scale, *zero) = (step.scale, step.zero);
        let rows = band.codes.chunks_exact_mut(k).zip(values.chunks_exact(k));
        for (codes, values) in rows {
            round_group(grid, &values[range.clone()], step, &mut codes[range.clone()]);
        }
    }
}

fn round_group(grid: Grid, values: &[f32], step: Step, codes: &mut [u8]) {
    for (code, &value) in codes.iter_mut().zip(values) {
        *code = grid.code(value, step);
    }
}
