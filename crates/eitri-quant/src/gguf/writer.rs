//! Writing GGUF files, version 3.

use std::path::Path;

use super::{DEFAULT_ALIGNMENT, MAGIC};
use crate::{
    QuantError,
    tensor_file::{NewTensor, Sizes, TensorFile},
};

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

/// A GGUF file in the making. It gets its name when it is complete; until then it has a temporary
/// one beside it, which disappears when this value is dropped.
#[derive(Debug)]
pub struct GgufWriter(TensorFile);

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
        TensorFile::create(target, &header, sizes, DEFAULT_ALIGNMENT).map(Self)
    }

    /// Appends to the data of the next tensor that is not complete, in the order of the header.
    ///
    /// # Errors
    /// When more comes than the tensor takes, or the system refuses.
    pub fn write(&mut self, data: &[u8]) -> Result<(), QuantError> {
        self.0.write(data)
    }

    /// Gives the file its name. Returns its bytes.
    ///
    /// # Errors
    /// When a tensor is not complete, or the system refuses.
    pub fn finish(self) -> Result<u64, QuantError> {
        self.0.finish()
    }
}

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
            return Err(QuantError::NotStorable {
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
