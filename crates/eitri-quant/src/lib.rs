//! Checkpoint files and what their quantisation means.
//!
//! A [`Checkpoint`] is a set of named tensors in GGUF or safetensors files, mapped and checked but
//! not read. The files in `formats` recognise how a weight matrix is stored and give it as a [`Matrix`]: a
//! source of canonical rows, from which [`Linear`] packs what the kernels multiply. The way back is
//! [`quantize`], which encodes rows, and [`gguf::GgufWriter`]; for Hugging Face directories
//! [`scheme`], which stores modules, and [`safetensors::SafeTensorsDirectory`]. The crate knows files and
//! formats, but no model's layers.
//!
//! Nothing in a file is trusted: every length is checked against the file before it is used.

mod checkpoint;
mod encoding;
mod error;
mod formats;
pub mod gguf;
mod linear;
mod mapping;
mod matrix;
mod plain;
mod quantization;
pub mod quantize;
pub mod safetensors;
mod scale_group;
pub mod scheme;
mod stream;
mod tensor_file;

pub use checkpoint::{Checkpoint, TensorView};
pub use encoding::Encoding;
pub use error::QuantError;
pub use linear::Linear;
pub use mapping::{FileBytes, MappedFile};
pub use matrix::Matrix;
pub use plain::{PlainTensor, WriteProgress, write_plain};
pub use quantization::QuantizationConfig;
pub use scale_group::ScaleGroup;
pub use stream::{Cursor, ReadOrder};
pub use tensor_file::NewTensor;
