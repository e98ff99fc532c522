//! Writing GGUF files, version 3.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{DEFAULT_ALIGNMENT, MAGIC};
use crate::{Encoding, QuantError};

const VERSION: u32 = 3;

/// A metadata value with the width that it has in the file. Readers such as llama.cpp insist on it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are the types of the format by their own names")]
pub enum MetadataValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(MetadataArray),
    U64(u64),
    I64(i64),
    F64(f64),
    /// A value as another file stores it, its type included.
    Stored(Vec<u8>),
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are the types of the format by their own names")]
pub enum MetadataArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Strings(Vec<String>),
    Nested(Vec<MetadataArray>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl From<&str> for MetadataValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

/// Type and data of a value.
macro_rules! plain {
    ($out:ident, $id:literal, $value:expr) => {{
        $out.extend(u32::to_le_bytes($id));
        $out.extend($value.to_le_bytes());
    }};
}

/// Element type, length and data of an array.
macro_rules! array {
    ($out:ident, $id:literal, $values:expr) => {{
        $out.extend(u32::to_le_bytes($id));
        $out.extend(($values.len() as u64).to_le_bytes());
        $out.extend($values.iter().flat_map(|value| value.to_le_bytes()));
    }};
}

impl MetadataValue {
    fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(value) => plain!(out, 0, value),
            Self::I8(value) => plain!(out, 1, value),
            Self::U16(value) => plain!(out, 2, value),
            Self::I16(value) => plain!(out, 3, value),
            Self::U32(value) => plain!(out, 4, value),
            Self::I32(value) => plain!(out, 5, value),
            Self::F32(value) => plain!(out, 6, value),
            Self::Bool(value) => plain!(out, 7, u8::from(*value)),
            Self::String(text) => {
                out.extend(8_u32.to_le_bytes());
                append_string(out, text);
            }
            Self::Array(array) => {
                out.extend(9_u32.to_le_bytes());
                array.append(out);
            }
            Self::U64(value) => plain!(out, 10, value),
            Self::I64(value) => plain!(out, 11, value),
            Self::F64(value) => plain!(out, 12, value),
            Self::Stored(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl MetadataArray {
    fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(values) => array!(out, 0, values),
            Self::I8(values) => array!(out, 1, values),
            Self::U16(values) => array!(out, 2, values),
            Self::I16(values) => array!(out, 3, values),
            Self::U32(values) => array!(out, 4, values),
            Self::I32(values) => array!(out, 5, values),
            Self::F32(values) => array!(out, 6, values),
            Self::Bool(values) => {
                let bytes: Vec<u8> = values.iter().copied().map(u8::from).collect();
                array!(out, 7, bytes);
            }
            Self::Strings(values) => {
                out.extend(8_u32.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                for text in values {
                    append_string(out, text);
                }
            }
            Self::Nested(values) => {
                out.extend(9_u32.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                for array in values {
                    array.append(out);
                }
            }
            Self::U64(values) => array!(out, 10, values),
            Self::I64(values) => array!(out, 11, values),
            Self::F64(values) => array!(out, 12, values),
        }
    }
}

fn append_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

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
        let (row, rows) = self.shape.split_last()?;
        let row = self.encoding.size(*row)? as u64;
        rows.iter().try_fold(row, |bytes, &dimension| bytes.checked_mul(dimension as u64))
    }
}

/// A GGUF file in the making. It gets its name when it is complete; until then it has a temporary
/// one beside it, which disappears when this value is dropped.
#[derive(Debug)]
pub struct GgufWriter {
    file: BufWriter<File>,
    partial: Partial,
    target: PathBuf,
    /// Name and bytes of the tensors that are not complete, the next one last.
    tensors: Sizes,
    /// Bytes of the next tensor that were written.
    written: u64,
    total: u64,
}

impl GgufWriter {
    /// Writes the header of a file that will be called `target`. An existing file of that name is
    /// replaced by [`Self::finish`] and untouched before.
    ///
    /// # Errors
    /// When a tensor has no place in the format or the file cannot be created.
    pub fn create(
        target: &Path,
        metadata: &[(String, MetadataValue)],
        tensors: &[NewTensor],
    ) -> Result<Self, QuantError> {
        let (header, sizes) = header(metadata, tensors)?;
        let (partial, file) = Partial::create(target)?;
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            partial,
            target: target.to_owned(),
            tensors: sizes,
            written: 0,
            total: 0,
        };
        writer.tensors.reverse();
        writer.put(&header)?;
        writer.pad()?;
        Ok(writer)
    }

    /// Appends to the data of the next tensor that is not complete, in the order of the header.
    ///
    /// # Errors
    /// When more comes than the tensor takes, or the system refuses.
    pub fn write(&mut self, data: &[u8]) -> Result<(), QuantError> {
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
        }
        Ok(())
    }

    /// Gives the file its name. Returns its bytes.
    ///
    /// # Errors
    /// When a tensor is not complete, or the system refuses.
    pub fn finish(mut self) -> Result<u64, QuantError> {
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
        let padding = self.total.next_multiple_of(DEFAULT_ALIGNMENT) - self.total;
        self.put(&[0; DEFAULT_ALIGNMENT as usize][..padding as usize])
    }

    fn error(&self, error: io::Error) -> QuantError {
        QuantError::Write { path: self.target.clone(), error }
    }
}

/// Name and bytes of each tensor.
type Sizes = Vec<(String, u64)>;

/// The header, and the sizes in its order.
fn header(
    metadata: &[(String, MetadataValue)],
    tensors: &[NewTensor],
) -> Result<(Vec<u8>, Sizes), QuantError> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        append_string(&mut out, key);
        value.append(&mut out);
    }
    let mut sizes = Sizes::with_capacity(tensors.len());
    let mut offset = 0_u64;
    for tensor in tensors {
        let NewTensor { name, encoding, shape } = tensor;
        let (Some(id), Some(bytes)) = (encoding.ggml_id(), tensor.bytes()) else {
            return Err(QuantError::NotGguf {
                tensor: name.clone(),
                shape: shape.clone(),
                encoding: encoding.name,
            });
        };
        append_string(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
        out.extend(id.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += bytes.next_multiple_of(DEFAULT_ALIGNMENT);
        sizes.push((name.clone(), bytes));
    }
    Ok((out, sizes))
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
