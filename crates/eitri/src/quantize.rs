//! Writing a model as a GGUF file or as a quantised Hugging Face directory.

use std::{
    fs,
    num::NonZero,
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use eitri_models::{
    CALIBRATION_TEXT_TOKENS, CALIBRATION_TOKENS, DirectoryOptions, ExportOptions, ExportProgress,
    ExportReport, GGUF_PRESETS, GgufPreset, ModelConfig, ModelFiles, TokenizerSource,
    export_directory, export_gguf,
};
use eitri_quant::{
    gguf::{MetadataArray, MetadataValue},
    scheme::{Calibration, SCHEMES, Scheme},
};
use eitri_text::{GgufVocab, TextError, Tokenizer};

use crate::{
    Error,
    builder::load_text,
    calibration::{self, CalibrationTexts},
    resolve::Places,
};

/// What a model can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeFormat {
    /// A GGUF file with these types.
    Gguf(&'static GgufPreset),
    /// A Hugging Face directory with modules stored in this way.
    Directory(Scheme),
}

impl QuantizeFormat {
    /// The format of that name.
    pub fn find(name: &str) -> Option<Self> {
        let preset = GgufPreset::find(name).map(Self::Gguf);
        preset.or_else(|| Scheme::find(name).map(|scheme| Self::Directory(*scheme)))
    }

    /// The same with a scale for every `size` inputs.
    ///
    /// # Errors
    /// For GGUF files, and for formats whose groups are not of the user's choice or not of this size.
    pub fn with_group(self, size: usize) -> Result<Self, Error> {
        let grouped = match self {
            Self::Directory(scheme) => scheme.with_group(size).ok().map(Self::Directory),
            Self::Gguf(_) => None,
        };
        grouped.ok_or_else(|| Error::Setting {
            setting: "--group-size",
            expected: "32, 64 or 128, and for a directory with integers".to_owned(),
            value: size.to_string(),
        })
    }

    /// Names of all formats: first those of GGUF files, each from the most exact to the smallest.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let presets = GGUF_PRESETS.iter().map(|preset| preset.name);
        presets.chain(SCHEMES.iter().map(|scheme| scheme.name))
    }
}

/// What [`quantize`] shall do.
#[derive(Debug, Clone)]
pub struct QuantizeOptions {
    /// What to write.
    pub format: QuantizeFormat,
    /// The file or directory to write.
    pub out: PathBuf,
    /// Whether to replace it if it exists. A directory must hold a model.
    pub overwrite: bool,
    /// Texts whose activations say how to quantise, for formats of directories that can use them:
    /// lines of text, or of `{"text": ...}` or `{"messages": [...]}`.
    pub calibrate: Option<PathBuf>,
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
/// llama.cpp, or as a quantised Hugging Face directory for this program and for vLLM. `model` is
/// found as [`crate::EngineBuilder::model`] says. The file or directory appears when it is
/// complete. `progress` is called now and then, and may stop it.
///
/// # Errors
/// When the model or its tokenizer is not found, damaged, of another kind or quantised already,
/// the format cannot store it or has no use for calibration, or the output exists or cannot be
/// written.
pub fn quantize(
    model: &Path,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(ExportProgress) -> ControlFlow<()>,
) -> Result<QuantizeReport, Error> {
    if !options.overwrite && !is_free(&options.out) {
        return Err(Error::OutputExists { path: options.out.clone() });
    }
    check_calibration(options)?;
    let location = Places::of_environment().locate(model, options.revision.as_deref(), &|_| {})?;
    let files = location.open()?;
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = options.threads.unwrap_or_else(cores);
    let (export, mut notes) = match options.format {
        QuantizeFormat::Gguf(preset) => write_gguf(&files, preset, options, threads, progress)?,
        QuantizeFormat::Directory(scheme) => {
            write_directory(&files, scheme, options, threads, progress)?
        }
    };
    if let Some(tensor) = export.ignored.first() {
        notes.push(format!("{} tensors are not used, such as {tensor}", export.ignored.len()));
    }
    // Formats that are written and not read are found out by reading.
    let written = ModelFiles::open(&options.out)?;
    if let Err(error) = written.weight_plan(eitri_kernels::Isa::detect()) {
        notes.push(format!("eitri itself cannot run this model: {error}"));
    }
    Ok(QuantizeReport { export, notes })
}

/// Whether nothing lies there, or only an empty directory.
fn is_free(path: &Path) -> bool {
    let is_empty = || path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    !path.exists() || is_empty()
}

/// Refuses texts that would change nothing.
fn check_calibration(options: &QuantizeOptions) -> Result<(), Error> {
    let (Some(file), format) = (&options.calibrate, options.format) else { return Ok(()) };
    let name = match format {
        QuantizeFormat::Directory(scheme) if scheme.calibration != Calibration::None => {
            return Ok(());
        }
        QuantizeFormat::Directory(scheme) => scheme.name,
        QuantizeFormat::Gguf(preset) => preset.name,
    };
    let calibrated = SCHEMES.iter().filter(|scheme| scheme.calibration != Calibration::None);
    let names: Vec<_> = calibrated.map(|scheme| scheme.name).collect();
    Err(Error::Setting {
        setting: "--calibrate",
        expected: format!("left out for {name}; {} use it", names.join(", ")),
        value: file.display().to_string(),
    })
}

type Written = (ExportReport, Vec<String>);
type Progress<'a> = dyn FnMut(ExportProgress) -> ControlFlow<()> + 'a;

fn write_gguf(
    files: &ModelFiles,
    preset: &'static GgufPreset,
    options: &QuantizeOptions,
    threads: usize,
    progress: &mut Progress<'_>,
) -> Result<Written, Error> {
    let mut notes = Vec::new();
    let tokenizer = match vocabulary(files)? {
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
    let export_options = ExportOptions { preset, tokenizer: &tokenizer, threads };
    let export = export_gguf(files, &options.out, &export_options, progress)?;
    notes.extend(notes_on(&export, files.config()));
    Ok((export, notes))
}

fn write_directory(
    files: &ModelFiles,
    scheme: Scheme,
    options: &QuantizeOptions,
    threads: usize,
    progress: &mut Progress<'_>,
) -> Result<Written, Error> {
    let texts = match &options.calibrate {
        Some(path) => {
            let (tokenizer, template) = load_text(files.tokenizer(), None)?;
            Some(calibration::read(path, &tokenizer, template.as_deref())?)
        }
        None => None,
    };
    let calibration = texts.as_ref().map(|texts| texts.tokens.as_slice());
    let directory = DirectoryOptions { scheme, calibration, threads };
    let export = export_directory(files, &options.out, &directory, progress)?;
    let mut notes = Vec::new();
    match (&texts, scheme.calibration) {
        (Some(texts), _) => notes.extend(notes_on_texts(texts, &export)),
        (None, Calibration::InputScale) => notes.push(
            "only weights are in 4 bits, since scales of activations need --calibrate".to_owned(),
        ),
        (None, Calibration::None) => {}
        (None, Calibration::ErrorFeedback | Calibration::ScaleSearch) => {
            notes.push("weights are rounded to the nearest; --calibrate does better".to_owned());
        }
    }
    Ok((export, notes))
}

fn notes_on_texts(texts: &CalibrationTexts, export: &ExportReport) -> Vec<String> {
    let mut notes = vec![format!(
        "calibrated with {} tokens of {} texts",
        export.calibration_tokens,
        texts.tokens.len()
    )];
    if texts.cut > 0 {
        let most = CALIBRATION_TEXT_TOKENS;
        notes.push(format!("{} texts were cut, the longest at {most} tokens", texts.cut));
    }
    if texts.left_out > 0 {
        notes.push(format!(
            "{} texts behind the first {CALIBRATION_TOKENS} tokens were left out",
            texts.left_out
        ));
    }
    if let Some(module) = export.unreached.first() {
        notes.push(format!(
            "the texts reached {} modules too little to be calibrated, such as {module}; their \
             weights are rounded to the nearest",
            export.unreached.len()
        ));
    }
    notes
}

fn notes_on(export: &ExportReport, config: &ModelConfig) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((tensor, encoding)) = export.fallbacks.first() {
        notes.push(format!(
            "rows of {} tensors do not divide by the blocks of the format; {tensor} became {encoding}",
            export.fallbacks.len()
        ));
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
