//! C = alpha op(A) op(B) + beta C, for batches at a fixed distance; matrices are column-major.
//!
//! Products are added in ascending order of k, in f32 (f64 for f64): what cuBLAS adds in which
//! order is not documented. With `CUBLAS_COMPUTE_16F` cuBLAS adds in f16; here it is f32 as well.

use std::{num::NonZero, ops::AddAssign, thread};

use vgpu::{Gpu, Memory, MemoryError};

use super::{BlasStatus, Result, element::Element};
use crate::work::Routine;

/// Multiply-adds below which starting threads costs more than it gains.
const WORTH_A_THREAD: usize = 1 << 20;

/// Where a matrix lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) address: u64,
    pub(super) element: Element,
    /// Whether the operation reads it transposed.
    pub(super) transposed: bool,
    /// Elements from one column to the next.
    pub(super) leading: usize,
    /// Elements from one matrix of the batch to the next.
    pub(super) stride: i64,
}

/// alpha or beta.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar {
    Host(f64),
    Device(u64, Element),
}

impl Scalar {
    fn value(self, memory: &Memory) -> std::result::Result<f64, MemoryError> {
        match self {
            Self::Host(value) => Ok(value),
            Self::Device(address, element) => {
                let mut bytes = vec![0; element.bytes()];
                memory.read(address, &mut bytes)?;
                Ok(element.decode(&bytes))
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Gemm {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) batch: usize,
    pub(super) alpha: Scalar,
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    pub(super) beta: Scalar,
    pub(super) c: Matrix,
}

impl Gemm {
    /// Whether leading dimensions are long enough.
    pub(super) fn check(&self) -> Result<()> {
        let rows_a = if self.a.transposed { self.k } else { self.m };
        let rows_b = if self.b.transposed { self.n } else { self.k };
        let fits = |matrix: &Matrix, rows: usize| matrix.leading >= rows.max(1);
        if fits(&self.a, rows_a) && fits(&self.b, rows_b) && fits(&self.c, self.m) {
            Ok(())
        } else {
            Err(BlasStatus::InvalidValue)
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.m == 0 || self.n == 0 || self.batch == 0
    }

    fn batch_in<T: Number>(
        &self,
        memory: &Memory,
        index: usize,
        (alpha, beta): (f64, f64),
    ) -> std::result::Result<(), MemoryError> {
        let (m, n, k) = (self.m, self.n, self.k);
        let mut sums = vec![T::default(); m * n];
        if alpha != 0.0 {
            let a: Vec<T> = self.a.load(memory, index, (m, k))?;
            let b: Vec<T> = self.b.load(memory, index, (k, n))?;
            multiply(&a, &b, &mut sums, (m, n, k));
        }
        let element = self.c.element;
        for column in 0..n {
            let address = self.c.column(index, column);
            let mut old = vec![0; m * element.bytes()];
            // With beta = 0 the old contents do not count, NaN or undefined as they may be.
            if beta != 0.0 {
                memory.read(address, &mut old)?;
            }
            let mut new = Vec::with_capacity(old.len());
            for (row, old) in old.chunks_exact(element.bytes()).enumerate() {
                let product = alpha * sums[row * n + column].to_f64();
                let kept = if beta == 0.0 { 0.0 } else { beta * element.decode(old) };
                element.encode(product + kept, &mut new);
            }
            memory.write(address, &new)?;
        }
        Ok(())
    }
}

impl Routine for Gemm {
    fn name(&self) -> &'static str {
        "cuBLAS gemm"
    }

    fn run(&self, gpu: &Gpu) -> std::result::Result<(), MemoryError> {
        let memory = gpu.memory();
        let scalars = (self.alpha.value(memory)?, self.beta.value(memory)?);
        for index in 0..self.batch {
            if self.c.element == Element::Float64 {
                self.batch_in::<f64>(memory, index, scalars)?;
            } else {
                self.batch_in::<f32>(memory, index, scalars)?;
            }
        }
        Ok(())
    }
}

impl Matrix {
    /// Address of a column of a matrix of the batch.
    fn column(&self, index: usize, column: usize) -> u64 {
        let elements = self.stride * index as i64 + (column * self.leading) as i64;
        self.address.wrapping_add_signed(elements * self.element.bytes() as i64)
    }

    /// The matrix as the operation reads it, row by row.
    fn load<T: Number>(
        &self,
        memory: &Memory,
        index: usize,
        (rows, columns): (usize, usize),
    ) -> std::result::Result<Vec<T>, MemoryError> {
        let (stored_rows, stored_columns) =
            if self.transposed { (columns, rows) } else { (rows, columns) };
        let size = self.element.bytes();
        let mut values = vec![T::default(); rows * columns];
        let mut bytes = vec![0; stored_rows * size];
        for column in 0..stored_columns {
            let address = self.column(index, column);
            memory.read(address, &mut bytes)?;
            if let Some(at) = memory.first_undefined(address, bytes.len() as u64)? {
                crate::fault::print(&format!("cuBLAS gemm reads {at:#x}, which was never written"));
            }
            for (row, value) in bytes.chunks_exact(size).enumerate() {
                let place =
                    if self.transposed { column * columns + row } else { row * columns + column };
                values[place] = T::from_f64(self.element.decode(value));
            }
        }
        Ok(values)
    }
}

/// What products are added in.
trait Number: Copy + Default + AddAssign + Send + Sync + std::ops::Mul<Output = Self> {
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
}

impl Number for f32 {
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// sums += a b, all row by row; rows are shared out over threads.
fn multiply<T: Number>(a: &[T], b: &[T], sums: &mut [T], (m, n, k): (usize, usize, usize)) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let useful = (m * n * k / WORTH_A_THREAD).clamp(1, threads);
    if useful == 1 {
        return rows(a, b, sums, (n, k));
    }
    let each = m.div_ceil(useful);
    thread::scope(|scope| {
        for (a, sums) in a.chunks(each * k).zip(sums.chunks_mut(each * n)) {
            scope.spawn(move || rows(a, b, sums, (n, k)));
        }
    });
}

/// Some rows of a product: for each k, a row of b times one number, so that lanes run over n.
fn rows<T: Number>(a: &[T], b: &[T], sums: &mut [T], (n, k): (usize, usize)) {
    if k == 0 {
        return;
    }
    for (a_row, sum_row) in a.chunks_exact(k).zip(sums.chunks_exact_mut(n)) {
        for (factor, b_row) in a_row.iter().zip(b.chunks_exact(n)) {
            for (sum, value) in sum_row.iter_mut().zip(b_row) {
                *sum += *factor * *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vgpu::{Config, Kind};

    use super::*;

    fn matrix(gpu: &Gpu, values: &[f32], leading: usize, transposed: bool, stride: i64) -> Matrix {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let address = gpu.memory().alloc(bytes.len() as u64, 4, Kind::Device).unwrap();
        gpu.memory().write(address, &bytes).unwrap();
        Matrix { address, element: Element::Float32, transposed, leading, stride }
    }

    fn values(gpu: &Gpu, matrix: &Matrix, count: usize) -> Vec<f32> {
        let mut bytes = vec![0; 4 * count];
        gpu.memory().read(matrix.address, &mut bytes).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// Element (row, column) of op(X), by the definition of column-major storage.
    fn at(data: &[f32], matrix: &Matrix, index: usize, row: usize, column: usize) -> f32 {
        let (row, column) = if matrix.transposed { (column, row) } else { (row, column) };
        data[index * matrix.stride as usize + column * matrix.leading + row]
    }

    #[test]
    fn every_transposition_equals_the_definition_and_leaves_gaps_alone() {
        let gpu = Gpu::new(Config::default()).unwrap();
        let (m, n, k, batch) = (3, 5, 4, 2);
        for (transposed_a, transposed_b) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let data = |seed: usize| -> Vec<f32> {
                (0..100).map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0).collect()
            };
            let (a_data, b_data, c_data) = (data(1), data(2), data(3));
            let a = matrix(&gpu, &a_data, 6, transposed_a, 30);
            let b = matrix(&gpu, &b_data, 7, transposed_b, 36);
            let c = matrix(&gpu, &c_data, 4, false, 25);
            let (alpha, beta) = (Scalar::Host(2.0), Scalar::Host(-1.0));
            let gemm = Gemm { m, n, k, batch, alpha, a, b, beta, c };
            gemm.check().unwrap();
            gemm.run(&gpu).unwrap();
            let mut expected = c_data.clone();
            for index in 0..batch {
                for row in 0..m {
                    for column in 0..n {
                        let product: f32 = (0..k)
                            .map(|i| {
                                at(&a_data, &a, index, row, i) * at(&b_data, &b, index, i, column)
                            })
                            .sum();
                        let place = index * 25 + column * 4 + row;
                        expected[place] = 2.0 * product - c_data[place];
                    }
                }
            }
            assert_eq!(values(&gpu, &c, 100), expected, "{transposed_a} {transposed_b}");
        }
    }

    #[test]
    fn threads_change_nothing() {
        let (m, n, k) = (130, 120, 140);
        let a: Vec<f32> = (0..m * k).map(|i| (i % 17) as f32 * 0.37 - 3.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 23) as f32 * 0.21 - 2.0).collect();
        let mut shared_out = vec![0.0; m * n];
        multiply(&a, &b, &mut shared_out, (m, n, k));
        let mut alone = vec![0.0; m * n];
        rows(&a, &b, &mut alone, (n, k));
        assert_eq!(shared_out, alone);
    }

    #[test]
    fn a_leading_dimension_that_is_too_short_is_refused() {
        let gpu = Gpu::new(Config::default()).unwrap();
        let x = matrix(&gpu, &[0.0; 16], 2, false, 0);
        let (alpha, beta) = (Scalar::Host(1.0), Scalar::Host(0.0));
        let gemm = Gemm { m: 3, n: 2, k: 2, batch: 1, alpha, a: x, b: x, beta, c: x };
        assert_eq!(gemm.check(), Err(BlasStatus::InvalidValue));
        assert_eq!(Gemm { m: 2, ..gemm }.check(), Ok(()));
    }
}
