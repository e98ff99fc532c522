//! C = alpha op(A) op(B) + beta C, for batches at a fixed distance; matrices are column-major.
//!
//! Products are added in ascending order of k, in f32 (f64 for f64): what cuBLAS adds in which
//! order is not documented. With `CUBLAS_COMPUTE_16F` cuBLAS adds in f16; here it is f32 as well.

use vgpu::{Gpu, Memory, MemoryError};

use super::{
    BlasStatus, Result,
    element::Element,
    product::{self, Number, Shape},
};
use crate::work::Routine;

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
        gpu: &Gpu,
        index: usize,
        (alpha, beta): (f64, f64),
    ) -> std::result::Result<(), MemoryError> {
        let memory = gpu.memory();
        let (m, n) = (self.m, self.n);
        let sums = if alpha == 0.0 {
            vec![T::default(); m * n]
        } else {
            self.product(memory, index, gpu.config().threads)?
        };
        let element = self.c.element;
        // With beta = 0 the old contents do not count, NaN or undefined as they may be.
        let whole = self.c.leading == m;
        let (pieces, each) = if whole { (1, m * n) } else { (n, m) };
        for piece in 0..pieces {
            let address = self.c.column(index, piece);
            let mut old = vec![0; if beta == 0.0 { 0 } else { each * element.bytes() }];
            memory.read(address, &mut old)?;
            let mut new = Vec::with_capacity(each * element.bytes());
            let mut old = old.chunks_exact(element.bytes());
            for sum in &sums[piece * each..][..each] {
                let kept = old.next().map_or(0.0, |old| beta * element.decode(old));
                element.encode(alpha * sum.to_f64() + kept, &mut new);
            }
            memory.write(address, &new)?;
        }
        Ok(())
    }

    /// The product of a pair of matrices, column by column. One of them may have to be turned: B,
    /// which is the smaller where tokens are its columns.
    fn product<T: Number>(
        &self,
        memory: &Memory,
        index: usize,
        threads: usize,
    ) -> std::result::Result<Vec<T>, MemoryError> {
        let (m, n, k) = (self.m, self.n, self.k);
        let a: Vec<T> = self.a.load(memory, index, (m, k))?;
        let b: Vec<T> = self.b.load(memory, index, (k, n))?;
        if self.a.transposed {
            let b = if self.b.transposed { b } else { product::transpose(b, k) };
            let sums = product::multiply(&a, &b, Shape { rows: m, columns: n, k }, threads);
            return Ok(product::transpose(sums, n));
        }
        let b = if self.b.transposed { product::transpose(b, n) } else { b };
        Ok(product::multiply(&b, &a, Shape { rows: n, columns: m, k }, threads))
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
                self.batch_in::<f64>(gpu, index, scalars)?;
            } else {
                self.batch_in::<f32>(gpu, index, scalars)?;
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

    /// The matrix as it is stored, column by column without gaps; with the rows and columns that
    /// the operation reads.
    fn load<T: Number>(
        &self,
        memory: &Memory,
        index: usize,
        (rows, columns): (usize, usize),
    ) -> std::result::Result<Vec<T>, MemoryError> {
        let (rows, columns) = if self.transposed { (columns, rows) } else { (rows, columns) };
        let (pieces, each) =
            if self.leading == rows { (1, rows * columns) } else { (columns, rows) };
        let mut values = Vec::with_capacity(rows * columns);
        let mut bytes = vec![0; each * self.element.bytes()];
        for piece in 0..pieces {
            let address = self.column(index, piece);
            memory.read(address, &mut bytes)?;
            if let Some(at) = memory.first_undefined(address, bytes.len() as u64)? {
                crate::fault::print(&format!("cuBLAS gemm reads {at:#x}, which was never written"));
            }
            self.element.decode_all(&bytes, &mut values);
        }
        Ok(values)
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
    fn a_leading_dimension_that_is_too_short_is_refused() {
        let gpu = Gpu::new(Config::default()).unwrap();
        let x = matrix(&gpu, &[0.0; 16], 2, false, 0);
        let (alpha, beta) = (Scalar::Host(1.0), Scalar::Host(0.0));
        let gemm = Gemm { m: 3, n: 2, k: 2, batch: 1, alpha, a: x, b: x, beta, c: x };
        assert_eq!(gemm.check(), Err(BlasStatus::InvalidValue));
        assert_eq!(Gemm { m: 2, ..gemm }.check(), Ok(()));
    }
}
