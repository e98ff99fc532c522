//! Named tensors in one or several files.

use std::{
    collections::HashMap,
    ops::Range,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use half::{bf16, f16};

use crate::{
    Encoding, FileBytes, QuantError, QuantizationConfig,
    gguf::{self, Gguf},
    safetensors,
    stream::FileRange,
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A set of tensors, mapped and checked but not read.
#[derive(Debug, Default)]
pub struct Checkpoint {
    files: Vec<CheckpointFile>,
    tensors: HashMap<String, Entry>,
    /// Where the metadata of a GGUF file lies.
    pairs: Vec<(String, Range<usize>)>,
    quantization: Option<QuantizationConfig>,
}

#[derive(Debug)]
struct CheckpointFile {
    name: String,
    bytes: FileBytes,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    encoding: Encoding,
    shape: Vec<usize>,
    range: Range<usize>,
    used: AtomicBool,
    passed_over: AtomicBool,
}

/// One tensor of a [`Checkpoint`].
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Its name.
    pub name: &'a str,
    /// The file it is in.
    pub file: &'a str,
    /// How it is stored.
    pub encoding: Encoding,
    /// Dimensions, outermost first.
    pub shape: &'a [usize],
    /// Its bytes.
    pub bytes: &'a [u8],
    map: &'a FileBytes,
    start: usize,
}

impl<'a> TensorView<'a> {
    /// Where it lies.
    pub(crate) fn file_range(&self) -> FileRange<'a> {
        FileRange { file: self.map, range: self.start..self.start + self.bytes.len() }
    }
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, in a directory.
    ///
    /// # Errors
    /// When files are missing or damaged, a tensor is in two shards, or one is not where the index
    /// says.
    pub fn open_safetensors(directory: &Path) -> Result<Self, QuantError> {
        let mut checkpoint = Self::default();
        let index = directory.join(INDEX);
        if !index.exists() {
            if !directory.join(SINGLE).exists() {
                return Err(QuantError::NoWeights { directory: directory.display().to_string() });
            }
            checkpoint.add_safetensors(SINGLE, FileBytes::map(&directory.join(SINGLE))?)?;
            return Ok(checkpoint);
        }
        let bytes = FileBytes::map(&index)?;
        let shards = safetensors::parse_index(bytes.as_slice())
            .map_err(|error| QuantError::SafeTensors { file: INDEX.to_owned(), error })?;
        let mut files: Vec<&String> = shards.values().collect();
        files.sort_unstable();
        files.dedup();
        for file in files {
            checkpoint.add_safetensors(file, FileBytes::map(&directory.join(file))?)?;
        }
        for (tensor, shard) in &shards {
            let entry = checkpoint.tensors.get(tensor);
            if entry.is_none_or(|entry| checkpoint.files[entry.file].name != *shard) {
                return Err(QuantError::NotInShard {
                    index: INDEX.to_owned(),
                    tensor: tensor.clone(),
                    shard: shard.clone(),
                });
            }
        }
        Ok(checkpoint)
    }

    /// Takes one safetensors file from memory; `name` is for messages.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_safetensors(name: &str, bytes: &'static [u8]) -> Result<Self, QuantError> {
        Self::from_bytes(name, FileBytes::Static(bytes))
    }

    /// As [`Self::from_safetensors`] for a file that may be anywhere.
    ///
    /// # Errors
    /// As there.
    pub fn from_bytes(name: &str, bytes: FileBytes) -> Result<Self, QuantError> {
        let mut checkpoint = Self::default();
        checkpoint.add_safetensors(name, bytes)?;
        Ok(checkpoint)
    }

    /// The same tensors with what the configuration says about them.
    #[must_use]
    pub fn with_quantization(self, quantization: Option<QuantizationConfig>) -> Self {
        Self { quantization, ..self }
    }

    /// Whether the configuration says that keys and values are to be cached in FP8.
    pub fn declares_fp8_kv_cache(&self) -> bool {
        self.quantization.as_ref().is_some_and(QuantizationConfig::fp8_kv_cache)
    }

    /// Opens a safetensors or GGUF file, or a directory with `model.safetensors`, an index and its
    /// shards, any other safetensors files or one GGUF file, with the quantisation that JSON files
    /// beside them declare. Neither need be a whole model.
    ///
    /// # Errors
    /// When there is nothing of this, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, QuantError> {
        let io = |error| QuantError::Io { path: path.to_owned(), error };
        if path.metadata().map_err(io)?.is_file() {
            return Self::open_file(path);
        }
        if path.join(INDEX).exists() || path.join(SINGLE).exists() {
            let quantization = QuantizationConfig::beside(path)?;
            return Ok(Self::open_safetensors(path)?.with_quantization(quantization));
        }
        let mut found = Vec::new();
        for entry in path.read_dir().map_err(io)? {
            found.push(entry.map_err(io)?.path());
        }
        found.sort_unstable();
        let of = |end: &str| -> Vec<_> {
            found.iter().filter(|p| p.extension().is_some_and(|e| e == end)).collect()
        };
        match (of("safetensors").as_slice(), of("gguf").as_slice()) {
            ([], [file]) => Self::open_file(file),
            ([], _) => Err(QuantError::NoWeights { directory: path.display().to_string() }),
            (files, _) => {
                let mut checkpoint = Self::default();
                for file in files {
                    checkpoint.add_safetensors(&file_name(file), FileBytes::map(file)?)?;
                }
                Ok(checkpoint.with_quantization(QuantizationConfig::beside(path)?))
            }
        }
    }

    fn open_file(path: &Path) -> Result<Self, QuantError> {
        let bytes = FileBytes::map(path)?;
        if bytes.as_slice().starts_with(&gguf::MAGIC) {
            return Ok(Self::from_gguf(&file_name(path), bytes)?.0);
        }
        let mut checkpoint = Self::default();
        checkpoint.add_safetensors(&file_name(path), bytes)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let quantization = QuantizationConfig::beside(directory.unwrap_or(Path::new(".")))?;
        Ok(checkpoint.with_quantization(quantization))
    }

    /// What the configuration says about the tensors.
    pub(crate) fn quantization(&self) -> Option<&QuantizationConfig> {
        self.quantization.as_ref()
    }

    /// Opens a GGUF file; its metadata comes beside the tensors.
    ///
    /// # Errors
    /// When it cannot be mapped or is damaged.
    pub fn open_gguf(path: &Path) -> Result<(Self, Gguf), QuantError> {
        Self::from_gguf(&file_name(path), FileBytes::map(path)?)
    }

    /// Takes a GGUF file; `name` is for messages.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_gguf(name: &str, bytes: FileBytes) -> Result<(Self, Gguf), QuantError> {
        let header = gguf::parse(bytes.as_slice())
            .map_err(|error| QuantError::Gguf { file: name.to_owned(), error })?;
        let mut checkpoint = Self { pairs: header.pairs.clone(), ..Self::default() };
        checkpoint.files.push(CheckpointFile { name: name.to_owned(), bytes });
        for tensor in &header.tensors {
            checkpoint.add(
                tensor.name.clone(),
                tensor.encoding,
                tensor.shape.clone(),
                tensor.range.clone(),
            )?;
        }
        Ok((checkpoint, header))
    }

    fn add_safetensors(&mut self, name: &str, bytes: FileBytes) -> Result<(), QuantError> {
        let tensors = safetensors::parse(bytes.as_slice())
            .map_err(|error| QuantError::SafeTensors { file: name.to_owned(), error })?;
        self.files.push(CheckpointFile { name: name.to_owned(), bytes });
        for tensor in tensors {
            self.add(tensor.name, tensor.encoding, tensor.shape, tensor.range)?;
        }
        Ok(())
    }

    /// Adds a tensor of the last file.
    fn add(
        &mut self,
        name: String,
        encoding: Encoding,
        shape: Vec<usize>,
        range: Range<usize>,
    ) -> Result<(), QuantError> {
        let file = self.files.len() - 1;
        if let Some(other) = self.tensors.get(&name) {
            return Err(QuantError::Duplicate {
                first: self.files[other.file].name.clone(),
                second: self.files[file].name.clone(),
                tensor: name,
            });
        }
        let (used, passed_over) = (AtomicBool::new(false), AtomicBool::new(false));
        self.tensors.insert(name, Entry { file, encoding, shape, range, used, passed_over });
        Ok(())
    }

    /// A tensor, counted as used from now on.
    ///
    /// # Errors
    /// [`QuantError::Missing`] when there is none of this name.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, QuantError> {
        let Some((name, entry)) = self.find(name) else {
            return Err(QuantError::Missing {
                tensor: name.to_owned(),
                checkpoint: self.name().to_owned(),
            });
        };
        entry.used.store(true, Ordering::Relaxed);
        let file = &self.files[entry.file];
        Ok(TensorView {
            name,
            file: &file.name,
            encoding: entry.encoding,
            shape: &entry.shape,
            bytes: &file.bytes.as_slice()[entry.range.clone()],
            map: &file.bytes,
            start: entry.range.start,
        })
    }

    /// A file of one module may name its tensors without it: `.weight` is `weight` then.
    fn find(&self, name: &str) -> Option<(&String, &Entry)> {
        let bare = || self.tensors.get_key_value(name.strip_prefix('.')?);
        self.tensors.get_key_value(name).or_else(bare)
    }

    /// The type of a tensor, which does not count as used for that.
    pub(crate) fn peek(&self, name: &str) -> Option<Encoding> {
        self.tensors.get(name).map(|entry| entry.encoding)
    }

    /// Names of all tensors in the order of the files.
    pub fn names(&self) -> Vec<&str> {
        let mut entries: Vec<(&String, &Entry)> = self.tensors.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| (entry.file, entry.range.start));
        entries.into_iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Metadata values of a GGUF file as they are stored, type included, in the order of the file;
    /// none for safetensors.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let bytes = self.files.first().map_or(&[][..], |file| file.bytes.as_slice());
        self.pairs.iter().map(move |(key, range)| (key.as_str(), &bytes[range.clone()]))
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A small dense vector as f32, for norms.
    ///
    /// # Errors
    /// When it is missing, quantised, of another length or not finite.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, QuantError> {
        let view = self.tensor(name)?;
        if view.shape != [len] {
            return Err(QuantError::Shape {
                tensor: name.to_owned(),
                expected: vec![len],
                got: view.shape.to_vec(),
            });
        }
        floats(&view)
    }

    /// Positive numbers as f32, `count` of them: a tensor of any shape with as many values, or with
    /// one that stands for all.
    ///
    /// # Errors
    /// When it is missing, quantised, of another size, or a value is not finite or not above zero.
    pub fn scales(&self, name: &str, count: usize) -> Result<Vec<f32>, QuantError> {
        let view = self.tensor(name)?;
        let stored = |message| QuantError::Stored {
            file: view.file.to_owned(),
            tensor: name.to_owned(),
            message,
        };
        let values = floats(&view)?;
        if values.len() != 1 && values.len() != count {
            let shape = view.shape;
            return Err(stored(format!("must have 1 or {count} values, got shape {shape:?}")));
        }
        if let Some(value) = values.iter().find(|&&value| value <= 0.0) {
            return Err(stored(format!("has a scale of {value}; scales must be above 0")));
        }
        Ok(if values.len() == count { values } else { vec![values[0]; count] })
    }

    /// Takes note that a tensor, if it exists, is known and of no use here.
    pub(crate) fn pass_over(&self, name: &str) {
        if let Some((_, entry)) = self.find(name) {
            entry.passed_over.store(true, Ordering::Relaxed);
        }
    }

    /// Names of tensors that nothing has asked for and that are not known to be of no use, sorted.
    pub fn unused(&self) -> Vec<&str> {
        self.without_use(false)
    }

    /// Names of tensors that are known and of no use, such as scales of activations, sorted.
    pub fn passed_over(&self) -> Vec<&str> {
        self.without_use(true)
    }

    fn without_use(&self, passed_over: bool) -> Vec<&str> {
        let is_meant = |entry: &Entry| {
            !entry.used.load(Ordering::Relaxed)
                && entry.passed_over.load(Ordering::Relaxed) == passed_over
        };
        let entries = self.tensors.iter().filter(|(_, entry)| is_meant(entry));
        let mut names: Vec<&str> = entries.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Name of the file, or of the first of several.
    pub fn name(&self) -> &str {
        self.files.first().map_or("the checkpoint", |file| &file.name)
    }
}

/// The values of a small dense tensor.
fn floats(view: &TensorView<'_>) -> Result<Vec<f32>, QuantError> {
    let values: Vec<f32> = match view.encoding {
        Encoding::F32 => {
            let (values, _) = view.bytes.as_chunks::<4>();
            values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        }
        Encoding::F16 => {
            let (values, _) = view.bytes.as_chunks::<2>();
            values.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
        }
        Encoding::BF16 => {
            let (values, _) = view.bytes.as_chunks::<2>();
            values.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect()
        }
        other => {
            return Err(QuantError::Format {
                file: view.file.to_owned(),
                tensor: view.name.to_owned(),
                encoding: other.name,
                known: "F32, F16 and BF16".to_owned(),
            });
        }
    };
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(QuantError::NotFinite { file: view.file.to_owned(), tensor: view.name.to_owned() })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
