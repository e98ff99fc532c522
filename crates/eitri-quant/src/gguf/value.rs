//! Metadata values. Integers and floats of all widths become one type each.

use super::{GgufError, reader::Reader};

/// Arrays of arrays deeper than this have no use.
const MAX_NESTING: usize = 4;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `u8` to `u64`.
    Unsigned(u64),
    /// `i8` to `i64`.
    Signed(i64),
    /// `f32` or `f64`.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    String(String),
    /// An array.
    Array(Array),
}

/// An array of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// `u8` to `u64`.
    Unsigned(Vec<u64>),
    /// `i8` to `i64`.
    Signed(Vec<i64>),
    /// `f32` or `f64`.
    Float(Vec<f64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Strings.
    Strings(Vec<String>),
    /// Arrays.
    Nested(Vec<Array>),
}

impl Value {
    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Unsigned(value) => Some(value as f64),
            Self::Signed(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = *self { Some(value) } else { None }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(value) = self { Some(value) } else { None }
    }

    /// An array of strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        if let Self::Array(Array::Strings(values)) = self { Some(values) } else { None }
    }
}

/// The widths of `enum gguf_type`.
#[derive(Clone, Copy)]
enum Kind {
    Unsigned(usize),
    Signed(usize),
    Float(usize),
    Bool,
    String,
    Array,
}

impl Kind {
    fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::Unsigned(1),
            1 => Self::Signed(1),
            2 => Self::Unsigned(2),
            3 => Self::Signed(2),
            4 => Self::Unsigned(4),
            5 => Self::Signed(4),
            6 => Self::Float(4),
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::Unsigned(8),
            11 => Self::Signed(8),
            12 => Self::Float(8),
            _ => return None,
        })
    }

    /// Bytes that an element takes at least.
    fn least(self) -> u64 {
        match self {
            Self::Unsigned(width) | Self::Signed(width) | Self::Float(width) => width as u64,
            Self::Bool => 1,
            Self::String => 8,
            Self::Array => 12,
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Result<Value, GgufError> {
    const WHAT: &str = "a metadata value";
    Ok(match kind(reader, key)? {
        Kind::Unsigned(width) => Value::Unsigned(unsigned(reader.take(width as u64, WHAT)?)),
        Kind::Signed(width) => Value::Signed(signed(reader.take(width as u64, WHAT)?)),
        Kind::Float(width) => Value::Float(float(reader.take(width as u64, WHAT)?)),
        Kind::Bool => Value::Bool(boolean(reader.take(1, WHAT)?[0], key)?),
        Kind::String => Value::String(reader.string(WHAT)?),
        Kind::Array => Value::Array(array(reader, key, 1)?),
    })
}

fn kind(reader: &mut Reader<'_>, key: &str) -> Result<Kind, GgufError> {
    let id = reader.u32("a metadata type")?;
    Kind::from_id(id).ok_or_else(|| GgufError::UnknownValueType { key: key.to_owned(), id })
}

fn array(reader: &mut Reader<'_>, key: &str, depth: usize) -> Result<Array, GgufError> {
    const WHAT: &str = "a metadata array";
    if depth > MAX_NESTING {
        return Err(GgufError::Nesting { key: key.to_owned() });
    }
    let kind = kind(reader, key)?;
    let len = reader.u64(WHAT)?;
    let need = len.saturating_mul(kind.least());
    if need > reader.remaining() as u64 {
        return Err(GgufError::Truncated {
            what: WHAT,
            at: reader.position(),
            need,
            have: reader.remaining(),
        });
    }
    Ok(match kind {
        Kind::Unsigned(width) => {
            Array::Unsigned(reader.take(need, WHAT)?.chunks_exact(width).map(unsigned).collect())
        }
        Kind::Signed(width) => {
            Array::Signed(reader.take(need, WHAT)?.chunks_exact(width).map(signed).collect())
        }
        Kind::Float(width) => {
            Array::Float(reader.take(need, WHAT)?.chunks_exact(width).map(float).collect())
        }
        Kind::Bool => {
            let bytes = reader.take(need, WHAT)?.iter();
            Array::Bool(bytes.map(|&byte| boolean(byte, key)).collect::<Result<_, _>>()?)
        }
        Kind::String => {
            Array::Strings((0..len).map(|_| reader.string(WHAT)).collect::<Result<_, _>>()?)
        }
        Kind::Array => Array::Nested(
            (0..len).map(|_| array(reader, key, depth + 1)).collect::<Result<_, _>>()?,
        ),
    })
}

/// Little-endian bytes, up to eight, with the sign bit extended if `fill` is all ones.
fn widen(bytes: &[u8], fill: u8) -> [u8; 8] {
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    wide
}

fn unsigned(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(widen(bytes, 0))
}

fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    i64::from_le_bytes(widen(bytes, if negative { 0xFF } else { 0 }))
}

fn float(bytes: &[u8]) -> f64 {
    if let Ok(single) = <[u8; 4]>::try_from(bytes) {
        f64::from(f32::from_le_bytes(single))
    } else {
        f64::from_le_bytes(widen(bytes, 0))
    }
}

fn boolean(byte: u8, key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(GgufError::Boolean { key: key.to_owned(), value }),
    }
}
