//! Writing safetensors files.

use std::path::Path;

use serde_json::{Map, json};

use super::METADATA;
use crate::{
    QuantError,
    tensor_file::{NewTensor, Sizes, TensorFile},
};

/// The reference implementation pads its header to this with spaces.
const ALIGNMENT: usize = 8;

/// A safetensors file in the making. It gets its name when it is complete; until then it has a
/// temporary one beside it, which disappears when this value is dropped.
#[derive(Debug)]
pub struct SafeTensorsWriter(TensorFile);

impl SafeTensorsWriter {
    /// Writes the header of a file that will be called `target`. An existing file of that name is
    /// replaced by [`Self::finish`] and untouched before.
    ///
    /// # Errors
    /// When the format has no such type or the file cannot be created.
    pub fn create(target: &Path, tensors: &[NewTensor]) -> Result<Self, QuantError> {
        let mut entries = Map::new();
        // Loaders of transformers insist on it.
        entries.insert(METADATA.to_owned(), json!({ "format": "pt" }));
        let (mut sizes, mut start) = (Sizes::with_capacity(tensors.len()), 0);
        for tensor in tensors {
            let NewTensor { name, encoding, shape } = tensor;
            let (Some(_), Some(bytes)) = (encoding.safetensors_name(), tensor.bytes()) else {
                return Err(QuantError::NotStorable {
                    tensor: name.clone(),
                    shape: shape.clone(),
                    encoding: encoding.name,
                });
            };
            let entry = json!({
                "dtype": encoding.name,
                "shape": shape,
                "data_offsets": [start, start + bytes],
            });
            entries.insert(name.clone(), entry);
            sizes.push((name.clone(), bytes));
            start += bytes;
        }
        let mut json = serde_json::Value::Object(entries).to_string();
        json.push_str(&" ".repeat(json.len().next_multiple_of(ALIGNMENT) - json.len()));
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.extend(json.into_bytes());
        TensorFile::create(target, &header, sizes, 1).map(Self)
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
