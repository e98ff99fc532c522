//! Writing a model as a GGUF file that llama.cpp loads: names, metadata and row order are those of
//! llama.cpp's converter (`convert_hf_to_gguf.py`), types those of its quantiser
//! (`llama-quant.cpp`). Quantised Hugging Face directories are in `hugging_face`.

mod hugging_face;
mod metadata;
mod preset;
mod report;
mod rows;
mod source;

use std::{ops::ControlFlow, path::Path};

use eitri_kernels::Isa;
use eitri_quant::{
    Encoding,
    gguf::{GgufWriter, MetadataValue, NewTensor},
};

pub use hugging_face::{
    CALIBRATION_TEXT_TOKENS, CALIBRATION_TOKENS, DirectoryOptions, export_directory,
};
pub use preset::{GGUF_PRESETS, GgufPreset};
pub use report::{ExportReport, ExportRow};

use crate::{ModelError, ModelFiles, weights::Naming};
use report::{Amount, Squares};
use source::{SourceTensor, Values};

/// Values that are encoded before the next are read: enough work for all threads, and little memory.
const CHUNK_VALUES: usize = 1 << 22;

/// What an export shall be like.
#[derive(Debug)]
pub struct ExportOptions<'a> {
    /// Types of the tensors.
    pub preset: &'static GgufPreset,
    /// The `tokenizer.*` metadata. That of a GGUF model is copied instead.
    pub tokenizer: &'a [(String, MetadataValue)],
    /// Threads that encode.
    pub threads: usize,
}

/// How much of an export is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportProgress {
    /// Values written.
    pub done: u64,
    /// Values in all.
    pub total: u64,
}

/// Writes a model of F32, F16 or BF16 weights as the GGUF file `target`. The file appears when it is
/// complete; an existing one is replaced then. `progress` is called now and then, and may stop the
/// export.
///
/// # Errors
/// When a tensor is missing, quantised already, not finite or too large for its new type, when
/// the configuration has what GGUF cannot say, or when the file cannot be written.
pub fn export_gguf(
    files: &ModelFiles,
    target: &Path,
    options: &ExportOptions<'_>,
    progress: &mut dyn FnMut(ExportProgress) -> ControlFlow<()>,
) -> Result<ExportReport, ModelError> {
    // Names all that is missing, and whatever else headers can tell.
    files.weight_plan(Isa::detect())?;
    let sources = source::tensors(files)?;
    let (config, preset) = (files.config(), options.preset);
    let metadata = match files.naming() {
        Naming::HuggingFace => {
            let mut pairs = metadata::of_config(files, preset)?;
            pairs.extend_from_slice(options.tokenizer);
            pairs
        }
        Naming::Gguf => metadata::of_gguf(files, preset),
    };
    let mut report = ExportReport::default();
    let mut tensors = Vec::with_capacity(sources.len());
    for SourceTensor { name, shape, .. } in &sources {
        let choice = preset.choose(name, shape, config);
        if choice.is_fallback {
            report.fallbacks.push((name.clone(), choice.encoding.name));
        }
        let encoding = choice.encoding;
        tensors.push(NewTensor { name: name.clone(), encoding, shape: shape.clone() });
    }
    let mut writer = GgufWriter::create(target, &metadata, &tensors)?;
    let total = sources.iter().map(|source| source.count() as u64).sum();
    let mut done = 0;
    for (source, tensor) in sources.iter().zip(&tensors) {
        let squares =
            write_tensor(source, tensor.encoding, options.threads, &mut |data, count| {
                writer.write(data)?;
                done += count as u64;
                match progress(ExportProgress { done, total }) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(ModelError::Stopped),
                }
            })?;
        let amount = Amount { values: source.count() as u64, bytes: tensor.bytes().unwrap_or(0) };
        report.add(source.kind(), tensor.encoding.name, amount, squares);
    }
    report.file_bytes = writer.finish()?;
    report.ignored = files.checkpoint().unused().into_iter().map(str::to_owned).collect();
    Ok(report)
}

/// Takes encoded bytes and the number of values in them.
type Sink<'a> = dyn FnMut(&[u8], usize) -> Result<(), ModelError> + 'a;

/// Encodes a tensor chunk by chunk.
fn write_tensor(
    source: &SourceTensor<'_>,
    encoding: Encoding,
    threads: usize,
    write: &mut Sink<'_>,
) -> Result<Squares, ModelError> {
    let matrix = match &source.values {
        Values::Vector(values) => {
            let (stored, squares) = rows::encode_vector(&source.name, values, encoding)?;
            write(&stored, values.len())?;
            return Ok(squares);
        }
        Values::Matrix(matrix) => matrix,
    };
    let rows = matrix.experts() * matrix.n();
    let step = (CHUNK_VALUES / matrix.k()).max(1);
    let mut squares = Squares::default();
    for start in (0..rows).step_by(step) {
        let chunk = start..rows.min(start + step);
        let count = chunk.len() * matrix.k();
        let (stored, chunk) = rows::encode_rows(&source.name, matrix, chunk, encoding, threads)?;
        write(&stored, count)?;
        squares += chunk;
    }
    matrix.release();
    Ok(squares)
}

#[cfg(test)]
mod tests;
