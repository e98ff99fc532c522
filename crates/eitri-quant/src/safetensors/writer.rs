//! Writing safetensors files.

use std::path::Path;

use super::header::header;
use crate::{
    QuantError,
    tensor_file::{NewTensor, Sizes, TensorFile},
};

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
        let all: Vec<&NewTensor> = tensors.iter().collect();
        let order: Vec<usize> = (0..all.len()).collect();
        let (header, places) = header(&all, &order)?;
        let sizes =
            tensors.iter().zip(places).map(|(tensor, (_, bytes))| (tensor.name.clone(), bytes));
        let sizes: Sizes = sizes.collect();
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
