//! Writing a model as a GGUF file.

use std::{
    fs,
    num::NonZero,
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use eitri_models::{
    ExportOptions, ExportProgress, ExportReport, GgufPreset, ModelConfig, ModelFiles,
    TokenizerSource, export_gguf,
};
use eitri_quant::gguf::{MetadataArray, MetadataValue};
use eitri_text::{GgufVocab, TextError, Tokenizer};

use crate::{Error, resolve::Places};

/// What [`quantize`] shall do.
#[derive(Debug, Clone)]
pub struct QuantizeOptions {
    /// Types of the weights.
    pub preset: &'static GgufPreset,
    /// The file to write.
    pub out: PathBuf,
    /// Whether to replace it if it exists.
    pub overwrite: bool,
    /// Branch, tag or commit of a hub id; `main` if not set.
    pub revision: Option<String>,
    /// Threads that compute; one per core if not set.
    pub threads: Option<usize>,
}

/// What [`quantize`] did.
#[derive(Debug, Clone)]
pub struct QuantizeReport {
    /// Errors and sizes.
    pub export: ExportReport,
    /// What users of the file should know.
    pub notes: Vec<String>,
}

/// Writes a model whose weights are F32, F16 or BF16 as a GGUF file for this program and for
/// llama.cpp. `model` is found as [`crate::EngineBuilder::model`] says. The file appears when it is
/// complete. `progress` is called now and then, and may stop it.
///
/// # Errors
/// When the model or its tokenizer is not found, damaged, of another kind or quantised already, or
/// the file exists or cannot be written.
pub fn quantize(
    model: &Path,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(ExportProgress) -> ControlFlow<()>,
) -> Result<QuantizeReport, Error> {
    if options.out.exists() && !options.overwrite {
        return Err(Error::OutputExists { path: options.out.clone() });
    }
    let location = Places::of_environment().locate(model, options.revision.as_deref(), &|_| {})?;
    let files = location.open()?;
    let mut notes = Vec::new();
    let tokenizer = match vocabulary(&files)? {
        Some(vocab) => {
            if !vocab.has_known_rules() {
                notes.push(
                    "llama.cpp has no name for how this tokenizer cuts text and will cut some text \
                     differently; eitri reads the tokenizer itself from the file"
                        .to_owned(),
                );
            }
            metadata(vocab)
        }
        None => Vec::new(),
    };
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = options.threads.unwrap_or_else(cores);
    let export_options = ExportOptions { preset: options.preset, tokenizer: &tokenizer, threads };
    let export = export_gguf(&files, &options.out, &export_options, progress)?;
    notes.extend(notes_on(&export, files.config()));
    // Formats that are written and not read are found out by reading.
    let written = ModelFiles::open(&options.out)?;
    if let Err(error) = written.weight_plan(eitri_kernels::Isa::detect()) {
        notes.push(format!("eitri itself cannot run this file: {error}"));
    }
    Ok(QuantizeReport { export, notes })
}

fn notes_on(export: &ExportReport, config: &ModelConfig) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((tensor, encoding)) = export.fallbacks.first() {
        notes.push(format!(
            "rows of {} tensors do not divide by the blocks of the format; {tensor} became {encoding}",
            export.fallbacks.len()
        ));
    }
    if let Some(tensor) = export.ignored.first() {
        notes.push(format!("{} tensors are not used, such as {tensor}", export.ignored.len()));
    }
    if config.moe.as_ref().is_some_and(|moe| !moe.norm_topk_prob) {
        notes.push(
            "norm_topk_prob is false, which llama.cpp does not know for this architecture: it will \
             compute something else"
                .to_owned(),
        );
    }
    notes
}

/// The tokenizer of a Hugging Face model; `None` for GGUF, whose metadata is copied.
fn vocabulary(files: &ModelFiles) -> Result<Option<GgufVocab>, Error> {
    const FILE: &str = "tokenizer.json";
    let (json, tokenizer) = match files.tokenizer() {
        TokenizerSource::Gguf(_) => return Ok(None),
        TokenizerSource::Embedded { tokenizer, tokenizer_config } => {
            (tokenizer.to_vec(), Tokenizer::from_bytes(tokenizer, *tokenizer_config, None)?)
        }
        TokenizerSource::Directory(directory) => {
            let tokenizer = Tokenizer::from_dir(directory)?;
            let path = directory.join(FILE);
            let json = fs::read(&path).map_err(|source| TextError::Read { path, source })?;
            (json, tokenizer)
        }
    };
    let config = files.config();
    let mut vocab = GgufVocab::from_tokenizer_json(&json, &tokenizer, config.vocab_size)?;
    // Tokens that only the model's configuration names.
    vocab.bos = vocab.bos.or(config.bos_token_id);
    vocab.eos = vocab.eos.or(config.eos_token_ids.first().copied());
    Ok(Some(vocab))
}

/// The pairs of a vocabulary.
fn metadata(vocab: GgufVocab) -> Vec<(String, MetadataValue)> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: Option<MetadataValue>| {
        pairs.extend(value.map(|value| (format!("tokenizer.{key}"), value)));
    };
    let strings = |values| Some(MetadataValue::Array(MetadataArray::Strings(values)));
    let types = MetadataValue::Array(MetadataArray::I32(vocab.token_types));
    add("ggml.model", Some(MetadataValue::String(vocab.model)));
    add("ggml.pre", Some(MetadataValue::String(vocab.pre)));
    add("ggml.tokens", strings(vocab.tokens));
    add("ggml.token_type", Some(types));
    add("ggml.merges", strings(vocab.merges));
    for (key, id) in [
        ("ggml.bos_token_id", vocab.bos),
        ("ggml.eos_token_id", vocab.eos),
        ("ggml.unknown_token_id", vocab.unk),
        ("ggml.padding_token_id", vocab.pad),
    ] {
        add(key, id.map(MetadataValue::U32));
    }
    add("ggml.add_bos_token", vocab.add_bos.map(MetadataValue::Bool));
    // False where absent; converters leave it out then.
    add("ggml.add_eos_token", vocab.add_eos.filter(|&adds| adds).map(MetadataValue::Bool));
    add("chat_template", vocab.chat_template.map(MetadataValue::String));
    add("huggingface.json", vocab.hugging_face.map(MetadataValue::String));
    pairs
}
