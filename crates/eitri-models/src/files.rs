//! Finding and opening the files of a model.

use std::path::{Path, PathBuf};

use eitri_kernels::{Isa, KvScales};
use eitri_quant::{Checkpoint, QuantizationConfig, gguf};
use serde_json::{Map, Value};

use crate::{
    GenerationConfig, ModelConfig, ModelError, WeightPlan, config, weight_plan,
    weights::{Naming, Source, Weights},
};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// A model directory or GGUF file: opened, its headers read and checked, no weight loaded.
#[derive(Debug)]
pub struct ModelFiles {
    name: String,
    config: ModelConfig,
    generation: GenerationConfig,
    tokenizer: TokenizerSource,
    checkpoint: Checkpoint,
    naming: Naming,
    origin: Origin,
}

/// Where the files are.
#[derive(Debug)]
enum Origin {
    Directory(PathBuf),
    Gguf,
    Embedded(EmbeddedModel),
}

/// Files that belong to a model beside its weights and `config.json`.
const COMPANIONS: [&str; 10] = [
    GENERATION,
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Where the tokenizer's files are.
#[derive(Debug, Clone)]
pub enum TokenizerSource {
    /// `tokenizer.json` and `tokenizer_config.json` in this directory.
    Directory(PathBuf),
    /// Metadata of a GGUF file.
    Gguf(Box<GgufTokenizer>),
    /// Part of the program.
    Embedded {
        /// `tokenizer.json`.
        tokenizer: &'static [u8],
        /// `tokenizer_config.json`.
        tokenizer_config: Option<&'static [u8]>,
    },
}

/// The `tokenizer.*` metadata of a GGUF file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`.
    pub model: String,
    /// `tokenizer.ggml.pre`.
    pub pre: String,
    /// `tokenizer.ggml.tokens`, by id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, one per token or empty.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`, by rank.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.scores`.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// `tokenizer.huggingface.json`: the whole `tokenizer.json`.
    pub hugging_face: Option<String>,
}

/// A model compiled into the program.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedModel {
    /// Its name for clients.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static [u8],
    /// `generation_config.json`.
    pub generation_config: Option<&'static [u8]>,
    /// `model.safetensors`.
    pub weights: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static [u8],
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<&'static [u8]>,
}

/// Names of the tensors of a checkpoint that the network does not use, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnusedTensors {
    /// Those that nothing here knows.
    pub unknown: Vec<String>,
    /// Those that belong to a weight and that its arithmetic does not need, such as scales of 8-bit
    /// activations.
    pub known: Vec<String>,
}

impl ModelFiles {
    /// Opens a directory with `config.json` and safetensors files, a GGUF file, or a directory
    /// whose only model is one GGUF file.
    ///
    /// # Errors
    /// When something is missing, damaged, contradictory or not supported.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let metadata =
            path.metadata().map_err(|error| ModelError::Io { path: path.to_owned(), error })?;
        if metadata.is_file() {
            return Self::open_gguf(path);
        }
        if path.join(CONFIG).exists() {
            return Self::open_directory(path);
        }
        let not_a_model = |message| Err(ModelError::NotAModel { path: path.to_owned(), message });
        match gguf_files(path)?.as_slice() {
            [file] => Self::open_gguf(file),
            [] => not_a_model("it has neither config.json nor a .gguf file".to_owned()),
            files => {
                not_a_model(format!("it has {} .gguf files; give the path of one", files.len()))
            }
        }
    }

    fn open_directory(directory: &Path) -> Result<Self, ModelError> {
        let json = object(CONFIG, &read(&directory.join(CONFIG))?)?;
        let config = config::from_json(CONFIG, &json)?;
        let quantization = QuantizationConfig::find(directory, &json)?;
        let generation = if directory.join(GENERATION).exists() {
            Some(object(GENERATION, &read(&directory.join(GENERATION))?)?)
        } else {
            None
        };
        let generation = generation_config(generation.as_ref(), &config)?;
        Ok(Self {
            name: name_of(directory),
            config,
            generation,
            tokenizer: TokenizerSource::Directory(directory.to_owned()),
            checkpoint: Checkpoint::open_safetensors(directory)?.with_quantization(quantization),
            naming: Naming::HuggingFace,
            origin: Origin::Directory(directory.to_owned()),
        })
    }

    fn open_gguf(path: &Path) -> Result<Self, ModelError> {
        let (checkpoint, header) = Checkpoint::open_gguf(path)?;
        let config = config::from_gguf(checkpoint.name(), &header, &checkpoint)?;
        Ok(Self {
            name: name_of(path),
            generation: config::generation_from_gguf(checkpoint.name(), &header, &config)?,
            config,
            tokenizer: TokenizerSource::Gguf(Box::new(gguf_tokenizer(header))),
            checkpoint,
            naming: Naming::Gguf,
            origin: Origin::Gguf,
        })
    }

    /// Takes a model that is part of the program.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn from_embedded(files: &EmbeddedModel) -> Result<Self, ModelError> {
        let json = object(CONFIG, files.config)?;
        let config = config::from_json(CONFIG, &json)?;
        let quantization = QuantizationConfig::in_config(CONFIG, &json)?;
        let generation =
            files.generation_config.map(|bytes| object(GENERATION, bytes)).transpose()?;
        Ok(Self {
            name: files.name.to_owned(),
            generation: generation_config(generation.as_ref(), &config)?,
            config,
            tokenizer: TokenizerSource::Embedded {
                tokenizer: files.tokenizer,
                tokenizer_config: files.tokenizer_config,
            },
            checkpoint: Checkpoint::from_safetensors("model.safetensors", files.weights)?
                .with_quantization(quantization),
            naming: Naming::HuggingFace,
            origin: Origin::Embedded(*files),
        })
    }

    /// Name of the directory, or of the file without its extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape of the network.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Sampling defaults.
    pub fn generation(&self) -> &GenerationConfig {
        &self.generation
    }

    /// Where the tokenizer is.
    pub fn tokenizer(&self) -> &TokenizerSource {
        &self.tokenizer
    }

    /// What each kind of layer will take in memory with kernels for `isa`.
    ///
    /// # Errors
    /// As for [`crate::load`], except for values that are not finite: no weight is read.
    pub fn weight_plan(&self, isa: Isa) -> Result<WeightPlan, ModelError> {
        Ok(weight_plan::plan(&self.weights(), isa)?.0)
    }

    /// Whether the checkpoint says that keys and values are to be cached in FP8.
    pub fn declares_fp8_kv_cache(&self) -> bool {
        self.checkpoint.declares_fp8_kv_cache()
    }

    /// Scales of an FP8 KV cache, one entry for each layer; empty if the checkpoint has none.
    ///
    /// # Errors
    /// When one has another number of values than 1 or one per KV head, or a value is not above 0.
    pub fn kv_scales(&self) -> Result<Vec<KvScales>, ModelError> {
        self.weights().kv_scales()
    }

    /// Tensors that loading leaves aside. Complete once [`Self::weight_plan`] has looked for all
    /// that the network needs.
    pub fn unused_tensors(&self) -> UnusedTensors {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        UnusedTensors {
            unknown: owned(self.checkpoint.unused()),
            known: owned(self.checkpoint.passed_over()),
        }
    }

    /// The directory that it was opened from, if it was one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Directory(directory) => Some(directory),
            Origin::Gguf | Origin::Embedded(_) => None,
        }
    }

    /// `config.json` as it is; empty for a GGUF file.
    pub(crate) fn config_json(&self) -> Result<Map<String, Value>, ModelError> {
        match &self.origin {
            Origin::Directory(directory) => object(CONFIG, &read(&directory.join(CONFIG))?),
            Origin::Gguf => Ok(Map::new()),
            Origin::Embedded(model) => object(CONFIG, model.config),
        }
    }

    /// Names and contents of the files beside the weights and `config.json`: generation defaults,
    /// tokenizer and chat template. None for a GGUF file.
    pub(crate) fn companions(&self) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
        let directory = match &self.origin {
            Origin::Directory(directory) => directory,
            Origin::Gguf => return Ok(Vec::new()),
            Origin::Embedded(model) => {
                let files = [
                    (GENERATION, model.generation_config),
                    ("tokenizer.json", Some(model.tokenizer)),
                    ("tokenizer_config.json", model.tokenizer_config),
                ];
                let present = files.into_iter().filter_map(|(name, content)| {
                    content.map(|content| (name.to_owned(), content.to_vec()))
                });
                return Ok(present.collect());
            }
        };
        let present = COMPANIONS.iter().filter(|name| directory.join(name).exists());
        present.map(|name| Ok(((*name).to_owned(), read(&directory.join(name))?))).collect()
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub(crate) fn naming(&self) -> Naming {
        self.naming
    }

    pub(crate) fn weights(&self) -> Weights<'_> {
        let source = Source::Checkpoint(&self.checkpoint);
        Weights { source, config: &self.config, naming: self.naming }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|error| ModelError::Io { path: path.to_owned(), error })
}

pub(crate) fn object(file: &str, json: &[u8]) -> Result<Map<String, Value>, ModelError> {
    serde_json::from_slice(json)
        .map_err(|error| ModelError::Json { file: file.to_owned(), message: error.to_string() })
}

fn generation_config(
    object: Option<&Map<String, Value>>,
    config: &ModelConfig,
) -> Result<GenerationConfig, ModelError> {
    let mut generation = match object {
        Some(object) => GenerationConfig::from_json(GENERATION, object)?,
        None => GenerationConfig::default(),
    };
    if generation.eos_token_ids.is_empty() {
        generation.eos_token_ids.clone_from(&config.eos_token_ids);
    }
    generation.bos_token_id = generation.bos_token_id.or(config.bos_token_id);
    Ok(generation)
}

fn name_of(path: &Path) -> String {
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if resolved.is_dir() { resolved.file_name() } else { resolved.file_stem() };
    name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn gguf_files(directory: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let io = |error| ModelError::Io { path: directory.to_owned(), error };
    let mut files = Vec::new();
    for entry in directory.read_dir().map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Takes what is there; the tokenizer's builder says what is missing.
fn gguf_tokenizer(mut header: gguf::Gguf) -> GgufTokenizer {
    let mut take = |key: &str| header.metadata.remove(&format!("tokenizer.{key}"));
    let strings = |value| match value {
        Some(gguf::Value::Array(gguf::Array::Strings(values))) => values,
        _ => Vec::new(),
    };
    let string =
        |value| if let Some(gguf::Value::String(value)) = value { Some(value) } else { None };
    let id = |value: Option<gguf::Value>| value?.as_u64().and_then(|id| u32::try_from(id).ok());
    let flag = |value: Option<gguf::Value>| value?.as_bool();
    GgufTokenizer {
        model: string(take("ggml.model")).unwrap_or_default(),
        pre: string(take("ggml.pre")).unwrap_or_default(),
        tokens: strings(take("ggml.tokens")),
        token_types: match take("ggml.token_type") {
            Some(gguf::Value::Array(gguf::Array::Signed(types))) => {
                types.into_iter().map(|kind| kind as i32).collect()
            }
            Some(gguf::Value::Array(gguf::Array::Unsigned(types))) => {
                types.into_iter().map(|kind| kind as i32).collect()
            }
            _ => Vec::new(),
        },
        merges: strings(take("ggml.merges")),
        scores: match take("ggml.scores") {
            Some(gguf::Value::Array(gguf::Array::Float(scores))) => {
                Some(scores.into_iter().map(|score| score as f32).collect())
            }
            _ => None,
        },
        bos: id(take("ggml.bos_token_id")),
        eos: id(take("ggml.eos_token_id")),
        eot: id(take("ggml.eot_token_id")),
        unk: id(take("ggml.unknown_token_id")),
        pad: id(take("ggml.padding_token_id")),
        add_bos: flag(take("ggml.add_bos_token")),
        add_eos: flag(take("ggml.add_eos_token")),
        add_space_prefix: flag(take("ggml.add_space_prefix")),
        chat_template: string(take("chat_template")),
        hugging_face: string(take("huggingface.json")),
    }
}
