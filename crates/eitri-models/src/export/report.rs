//! What an export did to the weights.

use std::ops::AddAssign;

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

/// How much a tensor, or a module of several, holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    pub(super) values: u64,
    pub(super) bytes: u64,
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
    /// Modules that were rounded to the nearest, or got the scales of their neighbours, since no
    /// calibration text reached them.
    pub unreached: Vec<String>,
    /// Tokens of the calibration texts that were used; 0 without calibration.
    pub calibration_tokens: usize,
    /// Bytes of the new file, or of all files of a directory but the index.
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

    /// Adds a tensor, or the tensors of a module.
    pub(super) fn add(
        &mut self,
        kind: &'static str,
        encoding: &'static str,
        Amount { values, bytes }: Amount,
        squares: Squares,
    ) {
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
