//! What can be wrong with a GGUF file.

/// Errors of [`super::parse`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// The first bytes are others.
    #[error("not a GGUF file: it begins with {got:02x?}, not with \"GGUF\"")]
    Magic {
        /// The first bytes.
        got: [u8; 4],
    },
    /// The file was written for machines of the other byte order.
    #[error("the file is big-endian (version field 0x{version:08x}); convert it to little-endian")]
    ByteOrder {
        /// The version as read.
        version: u32,
    },
    /// A version that is not supported.
    #[error("GGUF version {version} is not supported, 2 and 3 are")]
    Version {
        /// The version.
        version: u32,
    },
    /// More entries than the file has room for.
    #[error(
        "the header promises {tensors} tensors and {pairs} metadata entries, too many for {file} bytes"
    )]
    Counts {
        /// Tensors.
        tensors: u64,
        /// Metadata entries.
        pairs: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// The file ends inside an item.
    #[error("the file ends inside {what} at byte {at}: {need} bytes are needed, {have} are left")]
    Truncated {
        /// The item.
        what: &'static str,
        /// Where it starts.
        at: usize,
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        have: usize,
    },
    /// A string that is not UTF-8.
    #[error("{what} at byte {at} is not valid UTF-8")]
    Utf8 {
        /// The item.
        what: &'static str,
        /// Where it starts.
        at: usize,
    },
    /// A key twice.
    #[error("metadata key {key} occurs twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A metadata type that does not exist.
    #[error("metadata key {key} has type {id}, which does not exist")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type.
        id: u32,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("metadata key {key} has a boolean of value {value}")]
    Boolean {
        /// The key.
        key: String,
        /// The value.
        value: u8,
    },
    /// Arrays in arrays in arrays.
    #[error("metadata key {key} nests arrays too deeply")]
    Nesting {
        /// The key.
        key: String,
    },
    /// A value of another type than the key must have.
    #[error("metadata key {key} must be {expected}")]
    ValueType {
        /// The key.
        key: String,
        /// What would be right.
        expected: &'static str,
    },
    /// An alignment that is not one.
    #[error("general.alignment is {alignment}, not a power of two up to 1048576")]
    Alignment {
        /// The value.
        alignment: u64,
    },
    /// No dimensions or too many.
    #[error("tensor {tensor} has {dimensions} dimensions, 1 to 4 are possible")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Their number.
        dimensions: u32,
    },
    /// A tensor type that does not exist.
    #[error("tensor {tensor} has type {id}, which does not exist or was retired")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type.
        id: u32,
    },
    /// Dimensions that are zero, overflow or do not fill blocks. Innermost first, as in the file.
    #[error("tensor {tensor} of type {encoding} has impossible dimensions {shape:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its type.
        encoding: &'static str,
        /// Its dimensions.
        shape: Vec<u64>,
    },
    /// A tensor that starts between alignment steps.
    #[error("tensor {tensor} starts at offset {offset}, not a multiple of {alignment}")]
    Offset {
        /// The tensor.
        tensor: String,
        /// Its offset in the data.
        offset: usize,
        /// The alignment.
        alignment: usize,
    },
    /// A tensor that reaches past the end of the file.
    #[error("tensor {tensor} ends at byte {end}, but the file has only {file}: it is truncated")]
    Outside {
        /// The tensor.
        tensor: String,
        /// Where it ends.
        end: usize,
        /// Bytes of the file.
        file: usize,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first} and {second} overlap")]
    Overlap {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A name twice.
    #[error("tensor {tensor} occurs twice")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
}
