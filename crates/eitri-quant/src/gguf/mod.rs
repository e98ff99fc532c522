//! GGUF files, versions 2 and 3 (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).
//!
//! [`parse`] reads the header: metadata and where each tensor lies. It never reads outside the given
//! bytes, never allocates more than a small multiple of them, and refuses whatever is ambiguous.
//! [`GgufWriter`] writes version 3.

mod error;
mod reader;
mod value;
mod writer;

use std::{collections::HashMap, ops::Range};

pub use crate::tensor_file::NewTensor;
pub use error::GgufError;
pub use value::{Array, Value};
pub use writer::{GgufWriter, MetadataArray, MetadataValue};

use crate::Encoding;
use reader::Reader;

pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// Tensors have up to four dimensions in ggml.
const MAX_DIMENSIONS: u32 = 4;
/// Bytes of the shortest possible tensor info and key-value pair.
const MIN_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;
const MIN_PAIR: u64 = 8 + 4 + 1;

/// The header of a GGUF file.
#[derive(Debug, Clone, Default)]
pub struct Gguf {
    /// Metadata by key.
    pub metadata: HashMap<String, Value>,
    /// Where the value of each key lies in the file, its type included, in the order of the file.
    pub pairs: Vec<(String, Range<usize>)>,
    /// Tensors in the order of the file.
    pub tensors: Vec<GgufTensor>,
}

/// Where one tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub encoding: Encoding,
    /// Dimensions, outermost first (the file has them innermost first).
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// Reads the header of a whole GGUF file and checks that all tensors lie inside it, apart.
///
/// # Errors
/// Says what is wrong and at which key or tensor.
pub fn parse(file: &[u8]) -> Result<Gguf, GgufError> {
    let mut reader = Reader::new(file);
    let (tensor_count, pair_count) = counts(&mut reader)?;
    let (metadata, pairs) = metadata(&mut reader, pair_count)?;
    let alignment = alignment(&metadata)?;
    let mut tensors = Vec::with_capacity(tensor_count);
    for _ in 0..tensor_count {
        tensors.push(tensor(&mut reader)?);
    }
    // Padding may be cut off at the end of a file without tensors.
    let data = reader.position().next_multiple_of(alignment).min(file.len());
    place(&mut tensors, alignment, data, file.len())?;
    Ok(Gguf { metadata, pairs, tensors })
}

fn counts(reader: &mut Reader<'_>) -> Result<(usize, usize), GgufError> {
    let magic = reader.array::<4>("magic")?;
    if magic != MAGIC {
        return Err(GgufError::Magic { got: magic });
    }
    let version = reader.u32("version")?;
    if version != 0 && version.trailing_zeros() >= 16 {
        return Err(GgufError::ByteOrder { version });
    }
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version { version });
    }
    let tensors = reader.u64("tensor count")?;
    let pairs = reader.u64("metadata count")?;
    let room = reader.remaining() as u64;
    let least = tensors
        .checked_mul(MIN_TENSOR)
        .and_then(|t| pairs.checked_mul(MIN_PAIR).and_then(|p| t.checked_add(p)));
    match least {
        Some(least) if least <= room => Ok((tensors as usize, pairs as usize)),
        _ => Err(GgufError::Counts { tensors, pairs, file: room + 24 }),
    }
}

/// Values by key, and where they lie.
type Metadata = (HashMap<String, Value>, Vec<(String, Range<usize>)>);

fn metadata(reader: &mut Reader<'_>, count: usize) -> Result<Metadata, GgufError> {
    let mut metadata = HashMap::with_capacity(count);
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let key = reader.string("metadata key")?;
        let start = reader.position();
        let value = value::read(reader, &key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::DuplicateKey { key });
        }
        pairs.push((key, start..reader.position()));
    }
    Ok((metadata, pairs))
}

fn alignment(metadata: &HashMap<String, Value>) -> Result<usize, GgufError> {
    const KEY: &str = "general.alignment";
    let alignment = match metadata.get(KEY) {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value.as_u64().ok_or_else(|| GgufError::ValueType {
            key: KEY.to_owned(),
            expected: "an unsigned integer",
        })?,
    };
    if alignment.is_power_of_two() && alignment <= 1 << 20 {
        Ok(alignment as usize)
    } else {
        Err(GgufError::Alignment { alignment })
    }
}

/// Reads a tensor info; `range` is still relative to the start of the data.
fn tensor(reader: &mut Reader<'_>) -> Result<GgufTensor, GgufError> {
    let name = reader.string("tensor name")?;
    let dimensions = reader.u32("dimension count")?;
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(GgufError::Dimensions { tensor: name, dimensions });
    }
    let mut shape = Vec::with_capacity(MAX_DIMENSIONS as usize);
    for _ in 0..dimensions {
        shape.push(reader.u64("dimension")?);
    }
    let id = reader.u32("tensor type")?;
    let offset = reader.u64("tensor offset")?;
    let Some(encoding) = Encoding::from_ggml(id) else {
        return Err(GgufError::TensorType { tensor: name, id });
    };
    let extent = || {
        let mut count = 1_usize;
        for &dimension in &shape {
            count = count.checked_mul(usize::try_from(dimension).ok().filter(|&d| d > 0)?)?;
        }
        // Rows are made of whole blocks.
        usize::try_from(shape[0]).ok().filter(|row| row.is_multiple_of(encoding.block))?;
        let size = encoding.size(count)?;
        let start = usize::try_from(offset).ok()?;
        Some(start..start.checked_add(size)?)
    };
    let Some(range) = extent() else {
        return Err(GgufError::Shape { tensor: name, encoding: encoding.name, shape });
    };
    let shape = shape.iter().rev().map(|&dimension| dimension as usize).collect();
    Ok(GgufTensor { name, encoding, shape, range })
}

/// Makes ranges absolute and checks that they are aligned, inside the file and apart.
fn place(
    tensors: &mut [GgufTensor],
    alignment: usize,
    data: usize,
    file: usize,
) -> Result<(), GgufError> {
    for tensor in &mut *tensors {
        let Range { start, end } = tensor.range;
        if !start.is_multiple_of(alignment) {
            return Err(GgufError::Offset {
                tensor: tensor.name.clone(),
                offset: start,
                alignment,
            });
        }
        match end.checked_add(data) {
            Some(end) if end <= file => tensor.range = data + start..end,
            _ => {
                return Err(GgufError::Outside {
                    tensor: tensor.name.clone(),
                    end: end.saturating_add(data),
                    file,
                });
            }
        }
    }
    let mut order: Vec<&GgufTensor> = tensors.iter().collect();
    order.sort_unstable_by_key(|tensor| tensor.range.start);
    for pair in order.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            return Err(GgufError::Overlap {
                first: pair[0].name.clone(),
                second: pair[1].name.clone(),
            });
        }
    }
    order.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match order.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(GgufError::DuplicateTensor { tensor: pair[0].name.clone() }),
        None => Ok(()),
    }
}
