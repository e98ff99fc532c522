//! The header of a safetensors file that is going to be written.

use serde_json::{Map, json};

use super::METADATA;
use crate::{QuantError, tensor_file::NewTensor};

/// Data begins at a multiple of this, so that no reader gets misaligned values. The reference
/// implementation pads with spaces, too.
const ALIGNMENT: usize = 8;

/// Length and JSON of a header, and the offset behind it and the bytes of each tensor.
pub(super) type Header = (Vec<u8>, Vec<(u64, u64)>);

/// The header of a file that holds the data of `tensors` in this order of their numbers.
///
/// # Errors
/// When the format has no such type, or a tensor no size.
pub(super) fn header(tensors: &[&NewTensor], order: &[usize]) -> Result<Header, QuantError> {
    let mut entries = Map::new();
    // Loaders of transformers insist on it.
    entries.insert(METADATA.to_owned(), json!({"format": "pt"}));
    let mut offsets = vec![(0, 0); tensors.len()];
    let mut end = 0;
    for &i in order {
        let (tensor, bytes) = (tensors[i], size(tensors[i])?);
        offsets[i] = (end, bytes);
        let entry = json!({
            "dtype": tensor.encoding.name,
            "shape": tensor.shape,
            "data_offsets": [end, end + bytes],
        });
        entries.insert(tensor.name.clone(), entry);
        end += bytes;
    }
    let mut json = serde_json::Value::Object(entries).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(ALIGNMENT), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    Ok((header, offsets))
}

/// Bytes of a tensor's data.
///
/// # Errors
/// When the format has no such type, or the tensor no size.
pub(super) fn size(tensor: &NewTensor) -> Result<u64, QuantError> {
    match (tensor.encoding.safetensors_name(), tensor.bytes()) {
        (Some(_), Some(bytes)) => Ok(bytes),
        _ => Err(QuantError::NotStorable {
            tensor: tensor.name.clone(),
            shape: tensor.shape.clone(),
            encoding: tensor.encoding.name,
        }),
    }
}
