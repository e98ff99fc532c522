//! Writing files that are a header and the data of tensors, one after the other.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{Encoding, QuantError};

/// Name and bytes of each tensor.
pub(crate) type Sizes = Vec<(String, u64)>;

/// A tensor that is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTensor {
    /// Its name.
    pub name: String,
    /// How it will be stored.
    pub encoding: Encoding,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl NewTensor {
    /// Bytes of its data; `None` when rows do not fill whole blocks.
    pub fn bytes(&self) -> Option<u64> {
        let (row, rows) = self.shape.split_last().unwrap_or((&1, &[]));
        let row = self.encoding.size(*row)? as u64;
        rows.iter().try_fold(row, |bytes, &dimension| bytes.checked_mul(dimension as u64))
    }
}

/// A file in the making. It gets its name when it is complete; until then it has a temporary one
/// beside it, which disappears when this value is dropped.
#[derive(Debug)]
pub(crate) struct TensorFile {
    file: BufWriter<File>,
    partial: Partial,
    target: PathBuf,
    /// Name and bytes of the tensors that are not complete, the next one last.
    tensors: Sizes,
    /// Bytes of the next tensor that were written.
    written: u64,
    total: u64,
    alignment: u64,
}

impl TensorFile {
    /// Writes the header of a file that will be called `target`. Header and tensors are padded with
    /// zeros to `alignment`.
    pub(crate) fn create(
        target: &Path,
        header: &[u8],
        mut tensors: Sizes,
        alignment: u64,
    ) -> Result<Self, QuantError> {
        let (partial, file) = Partial::create(target)?;
        tensors.reverse();
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            partial,
            target: target.to_owned(),
            tensors,
            written: 0,
            total: 0,
            alignment,
        };
        writer.put(header)?;
        writer.pad()?;
        writer.pass_empty();
        Ok(writer)
    }

    /// Appends to the data of the next tensor that is not complete.
    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), QuantError> {
        let got = self.written + data.len() as u64;
        let (tensor, expected) =
            self.tensors.last().map_or(("behind the last", 0), |(name, size)| (name, *size));
        if got > expected {
            return Err(QuantError::DataLength { tensor: tensor.to_owned(), expected, got });
        }
        self.put(data)?;
        self.written = got;
        if got == expected {
            self.tensors.pop();
            self.written = 0;
            self.pad()?;
            self.pass_empty();
        }
        Ok(())
    }

    /// Nothing is written for tensors without values.
    fn pass_empty(&mut self) {
        while self.tensors.last().is_some_and(|&(_, bytes)| bytes == 0) {
            self.tensors.pop();
        }
    }

    /// Gives the file its name. Returns its bytes.
    pub(crate) fn finish(mut self) -> Result<u64, QuantError> {
        if let Some((tensor, expected)) = self.tensors.pop() {
            return Err(QuantError::DataLength { tensor, expected, got: self.written });
        }
        self.file.flush().map_err(|error| self.error(error))?;
        // A name must not survive a power failure that the data does not survive.
        self.file.get_ref().sync_all().map_err(|error| self.error(error))?;
        fs::rename(&self.partial.path, &self.target).map_err(|error| self.error(error))?;
        self.partial.is_gone = true;
        Ok(self.total)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), QuantError> {
        self.file.write_all(bytes).map_err(|error| self.error(error))?;
        self.total += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), QuantError> {
        let padding = self.total.next_multiple_of(self.alignment) - self.total;
        self.put(&vec![0; padding as usize])
    }

    fn error(&self, error: io::Error) -> QuantError {
        QuantError::Write { path: self.target.clone(), error }
    }
}

/// A file under a temporary name, removed unless it was renamed.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
    is_gone: bool,
}

impl Partial {
    /// Creates `.NAME.PID.part` beside `target`, so that renaming stays within one file system.
    fn create(target: &Path) -> Result<(Self, File), QuantError> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or(target.as_os_str()));
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        match File::create(&path) {
            Ok(file) => Ok((Self { path, is_gone: false }, file)),
            Err(error) => Err(QuantError::Write { path: target.to_owned(), error }),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_gone {
            // What cannot be removed was not created by this process or is gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}
