//! Flags of `eitri quantize`.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use eitri::{GGUF_PRESETS, GgufPreset};

use super::quantity::parse_count;

#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// Model with F32, F16 or BF16 weights: directory, .gguf file, hub id or a short name
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,

    /// Format of the weights; _m mixes give some layers more bits, as llama.cpp does
    #[arg(long, value_name = "FORMAT", value_parser = presets())]
    pub(crate) to: &'static GgufPreset,

    /// The file to write
    #[arg(long, value_name = "FILE.gguf")]
    pub(crate) out: PathBuf,

    /// Replace the file if there is one
    #[arg(long)]
    pub(crate) force: bool,

    /// Branch, tag or commit of a hub id
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,

    /// Threads that compute [default: the number of the machine's cores]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) threads: Option<usize>,
}

fn presets() -> impl TypedValueParser<Value = &'static GgufPreset> {
    PossibleValuesParser::new(GGUF_PRESETS.iter().map(|preset| preset.name))
        .try_map(|name| GgufPreset::find(&name).ok_or("not a format"))
}
