//! What an export did to the weights.

use std::ops::AddAssign;

use eitri_quant::gguf::NewTensor;

use super::source::SourceTensor;

/// Squares summed over values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Squares {
    pub(super) values: f64,
    pub(super) errors: f64,
}

impl Squares {
    pub(super) fn add(&mut self, value: f32, decoded: f32) {
        let error = f64::from(value) - f64::from(decoded);
        self.values += f64::from(value) * f64::from(value);
        self.errors += error * error;
    }

    fn relative_error(self) -> f64 {
        if self.errors == 0.0 { 0.0 } else { (self.errors / self.values).sqrt() }
    }
}

impl AddAssign for Squares {
    fn add_assign(&mut self, other: Self) {
        self.values += other.values;
        self.errors += other.errors;
    }
}

/// Tensors of one kind that are stored alike.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRow {
    /// Which ones, such as `attention q,k,v`.
    pub kind: &'static str,
    /// How they are stored now.
    pub encoding: &'static str,
    /// Their number.
    pub tensors: usize,
    /// Their values.
    pub values: u64,
    /// Bytes in the new file.
    pub bytes: u64,
    squares: Squares,
}

impl ExportRow {
    /// Root of the mean squared error of the decoded values, relative to that of the values.
    pub fn relative_error(&self) -> f64 {
        self.squares.relative_error()
    }
}

/// What an export wrote, and how exact it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportReport {
    /// Kinds of tensors in the order of the network.
    pub rows: Vec<ExportRow>,
    /// Tensors whose rows did not divide by the blocks of their type, and the type they got.
    pub fallbacks: Vec<(String, &'static str)>,
    /// Tensors of the source that the network does not use.
    pub ignored: Vec<String>,
    /// Bytes of the new file.
    pub file_bytes: u64,
}

impl ExportReport {
    /// As [`ExportRow::relative_error`], of all tensors.
    pub fn relative_error(&self) -> f64 {
        let mut all = Squares::default();
        for row in &self.rows {
            all += row.squares;
        }
        all.relative_error()
    }

    /// Values of all tensors.
    pub fn values(&self) -> u64 {
        self.rows.iter().map(|row| row.values).sum()
    }

    pub(super) fn add(&mut self, source: &SourceTensor<'_>, tensor: &NewTensor, squares: Squares) {
        let (kind, encoding) = (source.kind(), tensor.encoding.name);
        let (values, bytes) = (source.count() as u64, tensor.bytes().unwrap_or(0));
        let same = |row: &&mut ExportRow| (row.kind, row.encoding) == (kind, encoding);
        if let Some(row) = self.rows.iter_mut().find(same) {
            row.tensors += 1;
            row.values += values;
            row.bytes += bytes;
            row.squares += squares;
        } else {
            self.rows.push(ExportRow { kind, encoding, tensors: 1, values, bytes, squares });
        }
    }
}
