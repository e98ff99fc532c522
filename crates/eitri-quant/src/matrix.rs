//! Weight matrices that are still in their files: canonical rows on demand.

use std::{ops::Range, sync::Arc};

use eitri_kernels::{KernelError, RowSource, WeightFormat};

use crate::{Checkpoint, QuantError, ScaleGroup, TensorView, formats, stream::FileRange};

/// A matrix `[n, k]`, or `experts` of them, as a source of canonical rows.
pub struct Matrix<'a> {
    name: String,
    stored: &'static str,
    scales: ScaleGroup,
    format: WeightFormat,
    n: usize,
    k: usize,
    experts: usize,
    file_bytes: usize,
    tensors: Vec<TensorView<'a>>,
    rows: Box<dyn RowSource + 'a>,
    input_order: Option<Arc<[u32]>>,
}

impl std::fmt::Debug for Matrix<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matrix")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("shape", &[self.experts, self.n, self.k])
            .finish_non_exhaustive()
    }
}

/// Turns the bytes of a stored row into a canonical one; `false` when a value is not finite.
pub(crate) type ConvertRow = fn(stored: &[u8], canonical: &mut [u8]) -> bool;

impl<'a> Matrix<'a> {
    /// The matrix of a module: its tensor is `{module}.weight`, or for fused experts `{module}`.
    ///
    /// # Errors
    /// When there is none, or it is stored in a way that no format reads.
    pub fn open(checkpoint: &'a Checkpoint, module: &str) -> Result<Self, QuantError> {
        formats::open(checkpoint, module)
    }

    /// A matrix whose rows are stored one after the other in one tensor.
    pub(crate) fn from_tensor(
        tensor: TensorView<'a>,
        format: WeightFormat,
        convert: ConvertRow,
    ) -> Result<Self, QuantError> {
        let (experts, n, k) = match *tensor.shape {
            [n, k] => (1, n, k),
            [experts, n, k] => (experts, n, k),
            _ => {
                return Err(QuantError::Shape {
                    tensor: tensor.name.to_owned(),
                    expected: vec![0, 0],
                    got: tensor.shape.to_vec(),
                });
            }
        };
        let row_bytes = tensor.encoding.size(k).unwrap_or(0);
        Ok(Self {
            name: tensor.name.to_owned(),
            stored: tensor.encoding.name,
            scales: tensor.encoding.scale_group(),
            format,
            n,
            k,
            experts,
            file_bytes: tensor.bytes.len(),
            tensors: vec![tensor],
            rows: Box::new(TensorRows { tensor, row_bytes, convert }),
            input_order: None,
        })
    }

    /// A matrix `[n, k]` whose rows are put together from several tensors; the first one names it.
    pub(crate) fn from_rows(
        tensors: Vec<TensorView<'a>>,
        (stored, scales): (&'static str, ScaleGroup),
        format: WeightFormat,
        [n, k]: [usize; 2],
        rows: Box<dyn RowSource + 'a>,
    ) -> Self {
        let name = tensors.first().map_or("", |tensor| tensor.name).to_owned();
        let file_bytes = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        Self {
            name,
            stored,
            scales,
            format,
            n,
            k,
            experts: 1,
            file_bytes,
            tensors,
            rows,
            input_order: None,
        }
    }

    /// A matrix of which all is known but its values.
    pub(crate) fn without_values(
        name: String,
        stored: (&'static str, ScaleGroup),
        format: WeightFormat,
        [experts, n, k]: [usize; 3],
        file_bytes: usize,
    ) -> Self {
        let matrix = Self::from_rows(Vec::new(), stored, format, [n, k], Box::new(NoRows));
        Self { name, experts, file_bytes, ..matrix }
    }

    /// The same matrix, whose column `j` belongs to input `order[j]`.
    pub(crate) fn with_input_order(self, input_order: Option<Arc<[u32]>>) -> Self {
        Self { input_order, ..self }
    }

    /// The input of each column, if that is not the column's own number.
    pub(crate) fn input_order(&self) -> Option<&Arc<[u32]>> {
        self.input_order.as_ref()
    }

    /// Itself, if it has this shape.
    ///
    /// # Errors
    /// [`QuantError::Shape`] otherwise.
    pub fn expect(self, experts: usize, n: usize, k: usize) -> Result<Self, QuantError> {
        if (self.experts, self.n, self.k) == (experts, n, k) {
            return Ok(self);
        }
        let shape = |experts, n, k| if experts == 1 { vec![n, k] } else { vec![experts, n, k] };
        Err(QuantError::Shape {
            expected: shape(experts, n, k),
            got: shape(self.experts, self.n, self.k),
            tensor: self.name,
        })
    }

    /// Takes row `source(row)` for each row of every expert.
    #[must_use]
    pub fn permute_rows(self, source: impl Fn(usize) -> usize + Sync + 'a) -> Self {
        let rows = Permuted { rows: self.rows, n: self.n, source };
        Self { rows: Box::new(rows), ..self }
    }

    /// Only these rows of each expert.
    #[must_use]
    pub fn slice_rows(self, rows: Range<usize>) -> Self {
        let sliced = Sliced { rows: self.rows, n: self.n, start: rows.start, len: rows.len() };
        Self { n: rows.len(), rows: Box::new(sliced), ..self }
    }

    /// One matrix of the rows of `parts`, part after part within each expert.
    ///
    /// # Errors
    /// [`QuantError::Mixed`] unless all have the same format, `k` and number of experts.
    pub fn concat_rows(parts: Vec<Self>) -> Result<Self, QuantError> {
        join(parts, |parts| {
            let n = parts.iter().map(|part| part.n).sum();
            let experts = parts[0].experts;
            (n, experts)
        })
    }

    /// One matrix of experts from one matrix per expert.
    ///
    /// # Errors
    /// [`QuantError::Mixed`] unless all have the same format and shape.
    pub fn stack_experts(parts: Vec<Self>) -> Result<Self, QuantError> {
        if let Some(other) = parts.iter().find(|part| part.n != parts[0].n) {
            return Err(mixed(&parts[0], other));
        }
        let experts = parts.iter().map(|part| part.experts).sum();
        let n = parts.first().map_or(0, |part| part.n);
        // Rows of single matrices, one after the other, are rows of experts one after the other.
        let flat =
            parts.into_iter().map(|part| Self { n: part.n * part.experts, experts: 1, ..part });
        let joined = Self::concat_rows(flat.collect())?;
        Ok(Self { n, experts, ..joined })
    }

    /// Whether the rows of both can be packed together.
    pub fn fits(&self, other: &Self) -> bool {
        (self.format, self.k, self.experts) == (other.format, other.k, other.experts)
            && self.input_order == other.input_order
    }

    /// Name of the tensor, or names joined by `+`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type in the file.
    pub fn stored(&self) -> &'static str {
        self.stored
    }

    /// Which of its values share a scale in the file.
    pub fn scale_group(&self) -> ScaleGroup {
        self.scales
    }

    /// How its rows come out.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Output rows of one matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Number of matrices; 1 for a dense one.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Bytes in the files.
    pub fn file_bytes(&self) -> usize {
        self.file_bytes
    }

    /// The rows, for packing.
    pub fn rows(&self) -> &(dyn RowSource + 'a) {
        &*self.rows
    }

    /// The values of row `row` (counted over all experts) of inputs 0 to k, as the format defines them.
    ///
    /// # Errors
    /// When the row is not acceptable, or `k` does not fit the format.
    ///
    /// # Panics
    /// When `out` is not `k` long.
    pub fn dequantise_row(&self, row: usize, out: &mut [f32]) -> Result<(), QuantError> {
        let Some(bytes) = self.format.row_bytes(self.k) else {
            return Err(QuantError::Shape {
                tensor: self.name.clone(),
                expected: vec![self.n, self.k.next_multiple_of(self.format.group())],
                got: vec![self.n, self.k],
            });
        };
        let mut canonical = vec![0; bytes];
        self.rows.row(row, &mut canonical)?;
        let Some(order) = &self.input_order else {
            self.format.dequantise_row(&canonical, out);
            return Ok(());
        };
        let mut values = vec![0.0; self.k];
        self.format.dequantise_row(&canonical, &mut values);
        for (&input, value) in order.iter().zip(values) {
            out[input as usize] = value;
        }
        Ok(())
    }

    /// Gives back the memory of the file pages that the rows were read from.
    pub fn release(&self) {
        self.file_ranges().for_each(|FileRange { file, range }| file.release(range));
    }

    /// Where its tensors lie; [`Self::file_bytes`] in all.
    pub(crate) fn file_ranges(&self) -> impl Iterator<Item = FileRange<'a>> {
        self.tensors.iter().map(TensorView::file_range)
    }
}

fn mixed(first: &Matrix<'_>, second: &Matrix<'_>) -> QuantError {
    if first.input_order != second.input_order {
        return QuantError::Unsupported {
            file: format!("{} and {}", first.name, second.name),
            what: "a stack of matrices whose g_idx (desc_act) orders differ".to_owned(),
            nearest: "use a checkpoint that was made with desc_act false".to_owned(),
        };
    }
    QuantError::Mixed {
        first: first.name.clone(),
        first_format: first.stored,
        second: second.name.clone(),
        second_format: second.stored,
    }
}

fn join<'a>(
    mut parts: Vec<Matrix<'a>>,
    shape: impl Fn(&[Matrix<'a>]) -> (usize, usize),
) -> Result<Matrix<'a>, QuantError> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    if let Some(other) = parts.iter().find(|part| !part.fits(&parts[0])) {
        return Err(mixed(&parts[0], other));
    }
    let (n, experts) = shape(&parts);
    let name = if parts.len() > 3 {
        format!("{} and {} more", parts[0].name, parts.len() - 1)
    } else {
        parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join("+")
    };
    let Matrix { stored, scales, format, k, .. } = parts[0];
    let input_order = parts[0].input_order.clone();
    let file_bytes = parts.iter().map(|part| part.file_bytes).sum();
    let tensors = parts.iter().flat_map(|part| part.tensors.iter().copied()).collect();
    let mut end = 0;
    let parts = parts
        .into_iter()
        .map(|part| {
            end += part.n;
            (end, part.n, part.rows)
        })
        .collect();
    let rows = Box::new(Joined { n, parts });
    Ok(Matrix {
        name,
        stored,
        scales,
        format,
        n,
        k,
        experts,
        file_bytes,
        tensors,
        rows,
        input_order,
    })
}

/// Rows of one tensor.
struct TensorRows<'a> {
    tensor: TensorView<'a>,
    row_bytes: usize,
    convert: ConvertRow,
}

impl RowSource for TensorRows<'_> {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        let stored = &self.tensor.bytes[row * self.row_bytes..(row + 1) * self.row_bytes];
        if (self.convert)(stored, out) {
            return Ok(());
        }
        let TensorView { file, name, .. } = self.tensor;
        let message =
            format!("{file}: tensor {name} has values that are not finite (NaN or infinity)");
        Err(KernelError::Row { row, message })
    }
}

/// Rows of a matrix that was only declared.
struct NoRows;

impl RowSource for NoRows {
    fn row(&self, row: usize, _: &mut [u8]) -> Result<(), KernelError> {
        Err(KernelError::Row { row, message: "a declared matrix has no values".to_owned() })
    }
}

struct Permuted<'a, F> {
    rows: Box<dyn RowSource + 'a>,
    n: usize,
    source: F,
}

impl<F: Fn(usize) -> usize + Sync> RowSource for Permuted<'_, F> {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        let (expert, row) = (row / self.n, row % self.n);
        self.rows.row(expert * self.n + (self.source)(row), out)
    }
}

struct Sliced<'a> {
    rows: Box<dyn RowSource + 'a>,
    /// Rows of an expert before slicing.
    n: usize,
    start: usize,
    len: usize,
}

impl RowSource for Sliced<'_> {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        let (expert, row) = (row / self.len, row % self.len);
        self.rows.row(expert * self.n + self.start + row, out)
    }
}

struct Joined<'a> {
    /// Rows of all parts in one expert.
    n: usize,
    /// End within an expert, rows per expert, rows.
    parts: Vec<(usize, usize, Box<dyn RowSource + 'a>)>,
}

impl RowSource for Joined<'_> {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        let (expert, row) = (row / self.n, row % self.n);
        let part = self.parts.partition_point(|&(end, ..)| end <= row);
        let (end, n, rows) = &self.parts[part];
        rows.row(expert * n + row + n - end, out)
    }
}
