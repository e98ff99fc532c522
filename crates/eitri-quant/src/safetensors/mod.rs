//! Safetensors files and their index (<https://github.com/huggingface/safetensors>).
//!
//! The header is read here and not by the `safetensors` crate, so that a damaged one is reported
//! with the tensor's name, and a name that occurs twice is seen.

mod directory;
mod header;
mod writer;

use std::{collections::BTreeMap, fmt, ops::Range};

use serde_json::{Map, Value};

pub use directory::{SafeTensorsDirectory, serialize};
pub use writer::SafeTensorsWriter;

use crate::Encoding;

/// The limit of the reference implementation.
const MAX_HEADER: u64 = 100_000_000;
const METADATA: &str = "__metadata__";

/// Where one tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeTensor {
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub encoding: Encoding,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// Errors of [`parse`] and [`parse_index`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SafeTensorsError {
    /// The file ends before its header does.
    #[error(
        "the file has {file} bytes, but its header needs {need}: it is truncated or not safetensors"
    )]
    Truncated {
        /// Bytes of the file.
        file: usize,
        /// Bytes of length field and header.
        need: u64,
    },
    /// A header longer than any real one.
    #[error("the header length {len} is above the limit of {MAX_HEADER}: not a safetensors file")]
    HeaderLength {
        /// Its length.
        len: u64,
    },
    /// A header that is not a JSON object with unique keys.
    #[error("the header is not valid JSON: {message}")]
    Json {
        /// Why, with line and column.
        message: String,
    },
    /// An entry without the fields of a tensor.
    #[error("tensor {tensor}: {field} must be {expected}")]
    Field {
        /// The tensor.
        tensor: String,
        /// The field.
        field: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// An unknown type.
    #[error("tensor {tensor} has the unknown dtype {dtype}")]
    DType {
        /// The tensor.
        tensor: String,
        /// The type.
        dtype: String,
    },
    /// Shape and bytes contradict each other.
    #[error("tensor {tensor} of type {dtype} with shape {shape:?} does not have {bytes} bytes")]
    Size {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// Its bytes by `data_offsets`.
        bytes: usize,
    },
    /// A tensor reaches past the end of the file.
    #[error("tensor {tensor} ends at byte {end}, but the file has only {file}: it is truncated")]
    Outside {
        /// The tensor.
        tensor: String,
        /// Where it ends.
        end: usize,
        /// Bytes of the file.
        file: usize,
    },
    /// Tensors overlap or leave a hole, which the format forbids.
    #[error("tensor {tensor} starts at offset {start}, but the one before it ends at {end}")]
    Gap {
        /// The tensor.
        tensor: String,
        /// Where it starts.
        start: usize,
        /// Where it should.
        end: usize,
    },
    /// Bytes after the last tensor.
    #[error("{bytes} bytes follow the last tensor")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// An index without its map.
    #[error("weight_map must be an object of tensor names and file names, and is not at {tensor}")]
    WeightMap {
        /// The entry, or the whole map.
        tensor: String,
    },
    /// A shard outside the directory of the index.
    #[error("tensor {tensor} is in {shard:?}, which is not a plain file name")]
    ShardName {
        /// The tensor.
        tensor: String,
        /// The name.
        shard: String,
    },
}

/// Reads the header of a whole safetensors file and checks it against the file's length.
///
/// # Errors
/// Says what is wrong and at which tensor.
pub fn parse(file: &[u8]) -> Result<Vec<SafeTensor>, SafeTensorsError> {
    let truncated = |need| SafeTensorsError::Truncated { file: file.len(), need };
    let (length, rest) = file.split_first_chunk::<8>().ok_or_else(|| truncated(8))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(SafeTensorsError::HeaderLength { len: length });
    }
    let header = rest.get(..length as usize).ok_or_else(|| truncated(length + 8))?;
    let data = 8 + header.len();
    let mut tensors = Vec::new();
    for (name, entry) in object(header)? {
        if name != METADATA {
            tensors.push(tensor(name, &entry)?);
        }
    }
    tensors.sort_unstable_by_key(|tensor| (tensor.range.start, tensor.range.end));
    let mut end = 0;
    for tensor in &mut tensors {
        let range = tensor.range.clone();
        if range.start != end {
            return Err(SafeTensorsError::Gap {
                tensor: tensor.name.clone(),
                start: range.start,
                end,
            });
        }
        end = range.end;
        if end > file.len() - data {
            return Err(SafeTensorsError::Outside {
                tensor: tensor.name.clone(),
                end: end.saturating_add(data),
                file: file.len(),
            });
        }
        tensor.range = data + range.start..data + end;
    }
    match file.len() - data - end {
        0 => Ok(tensors),
        bytes => Err(SafeTensorsError::Trailing { bytes }),
    }
}

fn tensor(name: String, entry: &Value) -> Result<SafeTensor, SafeTensorsError> {
    let field = |field, expected| SafeTensorsError::Field { tensor: name.clone(), field, expected };
    let sizes = |value: &Value| -> Option<Vec<usize>> {
        let sizes = value.as_array()?.iter();
        sizes.map(|size| size.as_u64().and_then(|size| usize::try_from(size).ok())).collect()
    };
    let dtype = entry["dtype"].as_str().ok_or_else(|| field("dtype", "a string"))?;
    let shape =
        sizes(&entry["shape"]).ok_or_else(|| field("shape", "an array of whole numbers"))?;
    let offsets = sizes(&entry["data_offsets"]).filter(|offsets| offsets.len() == 2);
    let range = match offsets.as_deref() {
        Some(&[start, end]) if start <= end => start..end,
        _ => return Err(field("data_offsets", "two ascending whole numbers")),
    };
    let Some(encoding) = Encoding::from_safetensors(dtype) else {
        return Err(SafeTensorsError::DType { tensor: name, dtype: dtype.to_owned() });
    };
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    if count.and_then(|count| encoding.size(count)) != Some(range.len()) {
        return Err(SafeTensorsError::Size {
            tensor: name,
            dtype: encoding.name,
            shape,
            bytes: range.len(),
        });
    }
    Ok(SafeTensor { name, encoding, shape, range })
}

/// Reads a `model.safetensors.index.json`: names of shards by name of tensor.
///
/// # Errors
/// When it is not JSON, has no `weight_map`, or names files outside its own directory.
pub fn parse_index(file: &[u8]) -> Result<BTreeMap<String, String>, SafeTensorsError> {
    let index = object(file)?;
    let map = index.into_iter().find(|(key, _)| key == "weight_map");
    let Some((_, Value::Object(map))) = map else {
        return Err(SafeTensorsError::WeightMap { tensor: "weight_map".to_owned() });
    };
    let mut shards = BTreeMap::new();
    for (tensor, shard) in map {
        let Value::String(shard) = shard else {
            return Err(SafeTensorsError::WeightMap { tensor });
        };
        let plain = !shard.is_empty() && shard != ".." && !shard.contains(['/', '\\', '\0']);
        if !plain {
            return Err(SafeTensorsError::ShardName { tensor, shard });
        }
        shards.insert(tensor, shard);
    }
    Ok(shards)
}

/// A JSON object's entries in order, refusing a key that occurs twice.
fn object(json: &[u8]) -> Result<Vec<(String, Value)>, SafeTensorsError> {
    struct Entries;
    impl<'de> serde::de::Visitor<'de> for Entries {
        type Value = Vec<(String, Value)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut entries = Map::new();
            while let Some((key, value)) = map.next_entry::<String, Value>()? {
                if entries.insert(key.clone(), value).is_some() {
                    return Err(serde::de::Error::custom(format!("{key} occurs twice")));
                }
            }
            Ok(entries.into_iter().collect())
        }
    }
    let invalid = |error: serde_json::Error| SafeTensorsError::Json { message: error.to_string() };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let entries =
        serde::Deserializer::deserialize_map(&mut deserializer, Entries).map_err(invalid)?;
    deserializer.end().map_err(invalid)?;
    Ok(entries)
}
