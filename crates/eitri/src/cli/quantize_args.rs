//! Flags of `eitri quantize`.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use eitri::QuantizeFormat;

use super::quantity::parse_count;

#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// Model with F32, F16 or BF16 weights: directory, .gguf file, hub id or a short name
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,

    /// Format of the weights. The first eleven are GGUF files (_m mixes give some layers more bits, as
    /// llama.cpp does), the others Hugging Face directories
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    pub(crate) to: QuantizeFormat,

    /// Inputs that share a scale, for integers in directories: 32, 64 or 128 [default: 128, or the
    /// whole row for w8a16]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) group_size: Option<usize>,

    /// The file or directory to write
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,

    /// Texts whose activations say how to quantise: lines of text, or of {"text": ...} or
    /// {"messages": [...]}. GPTQ for gptq-int4, gptq-int8, w4a16 and w8a16, AWQ for awq-int4, scales
    /// of activations for nvfp4 and nvfp4-ct
    #[arg(long, value_name = "FILE")]
    pub(crate) calibrate: Option<PathBuf>,

    /// Replace the file, or the directory of a model, if there is one
    #[arg(long)]
    pub(crate) force: bool,

    /// Branch, tag or commit of a hub id
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,

    /// Threads that compute [default: the number of the machine's cores]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) threads: Option<usize>,
}

fn formats() -> impl TypedValueParser<Value = QuantizeFormat> {
    PossibleValuesParser::new(QuantizeFormat::names())
        .try_map(|name| QuantizeFormat::find(&name).ok_or("not a format"))
}
