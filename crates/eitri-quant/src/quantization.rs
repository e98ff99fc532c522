//! What a Hugging Face directory says about its quantisation.
//!
//! Tensors decide how a module is stored; the configuration only adds what they cannot tell (block
//! sizes, GPTQ's offset of zeros), is compared with them, and names what is not supported.

use std::path::Path;

use serde_json::{Map, Value};

use crate::QuantError;

/// Readable methods, for messages.
const METHODS: &str = "fp8, compressed-tensors, gptq, awq, modelopt and auto-round";

/// Files beside `config.json` that may hold the configuration, and the method they imply.
const SIDE_FILES: [(&str, &str); 3] = [
    ("hf_quant_config.json", "modelopt"),
    ("quantize_config.json", "gptq"),
    ("quant_config.json", "awq"),
];

/// The quantisation of a checkpoint, as declared.
#[derive(Debug, Clone)]
pub struct QuantizationConfig {
    file: String,
    integers: Vec<IntegerScheme>,
    block: [usize; 2],
    gptq_v2: bool,
    fp8_kv_cache: bool,
    scheme: Option<Scheme>,
    /// Modules that it excepts.
    unquantized: Vec<String>,
}

/// How a configuration says that all linear layers are stored, where it says so for all alike.
/// Groups are of inputs; `None` is a whole row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// E4M3 in blocks.
    Fp8Blocks,
    /// `pack-quantized` of compressed-tensors.
    Packed { bits: usize, group: Option<usize>, zero: bool },
    /// GPTQ of either version.
    Gptq { bits: usize, group: Option<usize>, zero: bool },
    /// AWQ.
    Awq { group: Option<usize> },
    /// NVFP4 of `ModelOpt`.
    Nvfp4,
}

/// Integer codes of a width, in groups of this many inputs; `None` is a whole row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IntegerScheme {
    bits: usize,
    group: Option<usize>,
}

impl QuantizationConfig {
    /// The configuration of a directory: in `quantization_config` (or `compression_config`) of its
    /// `config.json`, which is given parsed, or in a file beside it. `None` when there is none.
    ///
    /// # Errors
    /// When it is damaged or declares what is not supported.
    pub fn find(directory: &Path, config: &Map<String, Value>) -> Result<Option<Self>, QuantError> {
        if let Some(found) = Self::in_config("config.json", config)? {
            return Ok(Some(found));
        }
        for (file, _) in SIDE_FILES {
            let path = directory.join(file);
            if path.exists() {
                return Self::in_side_file(file, &object(&path, file)?).map(Some);
            }
        }
        Ok(None)
    }

    /// The configuration in a file beside `config.json`, such as `hf_quant_config.json`.
    ///
    /// # Errors
    /// When it declares what is not supported.
    pub fn in_side_file(file: &str, object: &Map<String, Value>) -> Result<Self, QuantError> {
        let side_file = SIDE_FILES.iter().find(|(name, _)| *name == file);
        Self::parse(file, object, side_file.map_or("compressed-tensors", |&(_, method)| method))
    }

    /// The configuration of a directory that need not have a `config.json`.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn beside(directory: &Path) -> Result<Option<Self>, QuantError> {
        const CONFIG: &str = "config.json";
        let path = directory.join(CONFIG);
        let config = if path.exists() { object(&path, CONFIG)? } else { Map::new() };
        Self::find(directory, &config)
    }

    /// As [`Self::find`] without other files.
    ///
    /// # Errors
    /// As there.
    pub fn in_config(file: &str, config: &Map<String, Value>) -> Result<Option<Self>, QuantError> {
        for field in ["quantization_config", "compression_config"] {
            match config.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::Object(object)) => {
                    return Self::parse(file, object, "compressed-tensors").map(Some);
                }
                Some(other) => return Err(wrong(file, field, "an object", other)),
            }
        }
        Ok(None)
    }

    fn parse(
        file: &str,
        object: &Map<String, Value>,
        implied_method: &str,
    ) -> Result<Self, QuantError> {
        let method = text(object, "quant_method").or(text(object, "method"));
        let method = method.unwrap_or(implied_method);
        let mut config = Self {
            file: file.to_owned(),
            integers: Vec::new(),
            block: [128, 128],
            gptq_v2: false,
            fp8_kv_cache: false,
            scheme: None,
            unquantized: Vec::new(),
        };
        match method {
            "fp8" => config.fp8(object)?,
            "compressed-tensors" => config.compressed_tensors(object)?,
            "gptq" => config.gptq(object)?,
            "awq" => config.awq(object)?,
            "modelopt" | "modelopt_fp4" => config.modelopt(object)?,
            "auto-round" => config.auto_round(object)?,
            other => {
                let nearest = match other {
                    "bitsandbytes" | "exl2" | "exl3" | "hqq" | "aqlm" | "quip" => {
                        "a GPTQ or AWQ checkpoint of the model has 4 bits as well"
                    }
                    "marlin" | "bitblas" => "use the GPTQ checkpoint that it was made from",
                    "torchao" | "quanto" | "fbgemm_fp8" => {
                        "an fp8 or compressed-tensors checkpoint of the model comes nearest"
                    }
                    _ => "use an unquantised checkpoint, one of these methods or a GGUF file",
                };
                let nearest = format!("readable are {METHODS}; {nearest}");
                return Err(config.unsupported(&format!("quant_method {other}"), &nearest));
            }
        }
        Ok(config)
    }

    fn fp8(&mut self, object: &Map<String, Value>) -> Result<(), QuantError> {
        if let Some(fmt) = text(object, "fmt")
            && fmt != "e4m3"
        {
            return Err(self.unsupported(&format!("fmt {fmt}"), "e4m3 is"));
        }
        self.except(object, "modules_to_not_convert");
        if object.contains_key("weight_block_size") {
            self.scheme = Some(Scheme::Fp8Blocks);
        }
        self.block_size(object, "weight_block_size")
    }

    /// Takes note of modules that are listed as not quantised.
    fn except(&mut self, object: &Map<String, Value>, field: &str) {
        let names = object.get(field).and_then(Value::as_array).into_iter().flatten();
        self.unquantized.extend(names.filter_map(Value::as_str).map(str::to_owned));
    }

    fn block_size(&mut self, object: &Map<String, Value>, field: &str) -> Result<(), QuantError> {
        let size = |value: &Value| value.as_u64().filter(|&v| (1..1 << 20).contains(&v));
        match object.get(field) {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Array(sizes)) if sizes.len() == 2 => {
                match (size(&sizes[0]), size(&sizes[1])) {
                    (Some(n), Some(k)) => {
                        self.block = [n as usize, k as usize];
                        Ok(())
                    }
                    _ => Err(wrong(&self.file, field, "two sizes", Value::Array(sizes.clone()))),
                }
            }
            Some(other) => Err(wrong(&self.file, field, "two sizes", other)),
        }
    }

    fn compressed_tensors(&mut self, object: &Map<String, Value>) -> Result<(), QuantError> {
        const FORMATS: [&str; 8] = [
            "pack-quantized",
            "int-quantized",
            "float-quantized",
            "naive-quantized",
            "nvfp4-pack-quantized",
            "mxfp4-pack-quantized",
            "mixed-precision",
            "dense",
        ];
        let nested = |field| object.get(field).and_then(Value::as_object);
        let sparsity = nested("sparsity_config").and_then(|sparsity| text(sparsity, "format"));
        if let Some(format) = sparsity.filter(|&format| format != "dense") {
            let what = format!("sparsity format {format}");
            return Err(self.unsupported(&what, "use a checkpoint that is not sparse"));
        }
        if nested("transform_config").is_some_and(|transforms| !transforms.is_empty()) {
            let nearest = "use a checkpoint whose rotations are merged into the weights";
            return Err(self.unsupported("transform_config (run-time rotations)", nearest));
        }
        self.fp8_kv_cache = nested("kv_cache_scheme").is_some_and(is_fp8);
        let groups = nested("config_groups").into_iter().flatten();
        let groups: Vec<_> = groups.filter_map(|(_, group)| group.as_object()).collect();
        let formats = groups.iter().filter_map(|group| text(group, "format"));
        for format in text(object, "format").into_iter().chain(formats) {
            if !FORMATS.contains(&format) {
                let nearest = format!("readable are {}", FORMATS.join(", "));
                return Err(self.unsupported(&format!("format {format}"), &nearest));
            }
        }
        for weights in groups.iter().filter_map(|group| group.get("weights")?.as_object()) {
            self.block_size(weights, "block_structure")?;
            if text(weights, "type") != Some("float") {
                let IntegerScheme { bits, group } =
                    self.integer_scheme(weights, "num_bits", "group_size")?;
                let zero = weights.get("symmetric") == Some(&Value::Bool(false));
                let is_only = groups.len() == 1 && text(object, "format") == Some("pack-quantized");
                self.scheme = is_only.then_some(Scheme::Packed { bits, group, zero });
            }
        }
        self.except(object, "ignore");
        Ok(())
    }

    /// Adds the declared width and group size, and refuses widths that are not readable.
    fn integer_scheme(
        &mut self,
        object: &Map<String, Value>,
        bits: &str,
        group: &str,
    ) -> Result<IntegerScheme, QuantError> {
        let declared = object.get(bits).unwrap_or(&Value::Null);
        let width = match declared.as_u64() {
            Some(width @ (4 | 8)) => width as usize,
            Some(other) => {
                return Err(self.unsupported(&format!("{bits} {other}"), "4 and 8 bits are"));
            }
            None => return Err(wrong(&self.file, bits, "4 or 8", declared)),
        };
        let group = match object.get(group) {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_i64() {
                Some(-1) => None,
                Some(size) if (1..1 << 24).contains(&size) => Some(size as usize),
                _ => return Err(wrong(&self.file, group, "a size, or -1 for a whole row", value)),
            },
        };
        let scheme = IntegerScheme { bits: width, group };
        self.integers.push(scheme);
        Ok(scheme)
    }

    fn gptq(&mut self, object: &Map<String, Value>) -> Result<(), QuantError> {
        let IntegerScheme { bits, group } = self.integer_scheme(object, "bits", "group_size")?;
        let zero = object.get("sym") == Some(&Value::Bool(false));
        let is_uniform = object.get("dynamic").is_none_or(Value::is_null)
            && object.get("lm_head") != Some(&Value::Bool(true));
        self.scheme = is_uniform.then_some(Scheme::Gptq { bits, group, zero });
        match text(object, "checkpoint_format").or(text(object, "format")).unwrap_or("gptq") {
            "gptq" => {}
            "gptq_v2" => self.gptq_v2 = true,
            other => {
                let nearest =
                    "checkpoint_format gptq and gptq_v2 are; convert it back with GPTQModel";
                return Err(self.unsupported(&format!("checkpoint_format {other}"), nearest));
            }
        }
        if let Some(dtype) = text(object, "pack_dtype")
            && dtype != "int32"
        {
            return Err(self.unsupported(&format!("pack_dtype {dtype}"), "int32 is"));
        }
        // Overrides for modules by pattern: the tensors tell which modules, if any, have them.
        let overrides = object.get("dynamic").and_then(Value::as_object).into_iter().flatten();
        for module in overrides.filter_map(|(_, module)| module.as_object()) {
            let mut merged = object.clone();
            merged.extend(module.clone());
            self.integer_scheme(&merged, "bits", "group_size")?;
        }
        Ok(())
    }

    fn awq(&mut self, object: &Map<String, Value>) -> Result<(), QuantError> {
        let name = |new: &'static str, old| if object.contains_key(new) { new } else { old };
        if let Some(version) = text(object, "version")
            && !version.eq_ignore_ascii_case("gemm")
        {
            let nearest = "version gemm is; AutoAWQ can write it";
            return Err(self.unsupported(&format!("AWQ version {version}"), nearest));
        }
        let (bits, group) = (name("bits", "w_bit"), name("group_size", "q_group_size"));
        let IntegerScheme { group, .. } = self.integer_scheme(object, bits, group)?;
        // Exceptions are parts of names, which may mean more than whole modules.
        let is_uniform = object.get("modules_to_not_convert").is_none_or(Value::is_null);
        self.scheme = is_uniform.then_some(Scheme::Awq { group });
        if self.integers.iter().any(|scheme| scheme.bits != 4) {
            return Err(self.unsupported("AWQ of 8 bits", "AWQ of 4 bits is, and GPTQ of 8"));
        }
        Ok(())
    }

    fn modelopt(&mut self, object: &Map<String, Value>) -> Result<(), QuantError> {
        let object = object.get("quantization").and_then(Value::as_object).unwrap_or(object);
        let scheme = object.get("kv_cache_scheme").and_then(Value::as_object);
        let algorithm = text(object, "kv_cache_quant_algo");
        self.fp8_kv_cache = scheme.is_some_and(is_fp8)
            || algorithm.is_some_and(|algorithm| algorithm.eq_ignore_ascii_case("FP8"));
        if text(object, "quant_algo") == Some("NVFP4") {
            self.scheme = Some(Scheme::Nvfp4);
        }
        self.except(object, "exclude_modules");
        self.except(object, "ignore");
        let layers = object.get("quantized_layers").and_then(Value::as_object).into_iter();
        let layers =
            layers.flatten().filter_map(|(_, layer)| text(layer.as_object()?, "quant_algo"));
        for algorithm in text(object, "quant_algo").into_iter().chain(layers) {
            match algorithm.to_uppercase().as_str() {
                "FP8"
                | "FP8_PER_CHANNEL_PER_TOKEN"
                | "FP8_PB_WO"
                | "FP8_BLOCK_SCALES"
                | "NVFP4"
                | "W4A16_NVFP4"
                | "MIXED_PRECISION" => {}
                "W4A16_AWQ" | "NVFP4_AWQ" | "W4A8_AWQ" | "NVFP4_SVD" => {
                    let what = format!("quant_algo {algorithm} (pre_quant_scale)");
                    return Err(self.unsupported(&what, "NVFP4 and FP8 are, and AWQ of AutoAWQ"));
                }
                _ => {
                    let what = format!("quant_algo {algorithm}");
                    return Err(
                        self.unsupported(&what, "FP8, NVFP4 and MIXED_PRECISION of them are")
                    );
                }
            }
        }
        Ok(())
    }

    fn auto_round(&mut self, object: &Map<String, Value>) -> Result<(), QuantError> {
        let packing = text(object, "packing_format").unwrap_or("auto_round");
        match packing {
            "auto_round:auto_gptq" | "auto_round:gptq" => self.gptq(object),
            "auto_round:auto_awq" | "auto_round:awq" => self.awq(object),
            other => Err(self.unsupported(
                &format!("packing_format {other}"),
                "auto_round:auto_gptq and auto_round:auto_awq are; export with --format auto_gptq",
            )),
        }
    }

    /// How linear layers are stored.
    ///
    /// # Errors
    /// When layers differ, exceptions are patterns, or the method leaves it to the tensors.
    pub(crate) fn scheme(&self) -> Result<Scheme, QuantError> {
        let is_pattern = |name: &String| name.starts_with("re:") || name.contains('*');
        let scheme = self.scheme.filter(|_| !self.unquantized.iter().any(is_pattern));
        scheme.ok_or_else(|| {
            let what = "planning without tensors for a quantization that leaves more to them";
            self.unsupported(what, "inspect the checkpoint with its weights")
        })
    }

    /// Whether the linear layer of this name is quantised. Methods that list exceptions quantise all
    /// others; the packers of the rest leave alone whatever is outside of layers, and routers.
    pub(crate) fn is_quantized(&self, module: &str) -> bool {
        if self.unquantized.iter().any(|name| name == module) || module.ends_with("embed_tokens") {
            return false;
        }
        match self.scheme {
            Some(Scheme::Packed { .. } | Scheme::Nvfp4) | None => true,
            Some(Scheme::Fp8Blocks | Scheme::Gptq { .. } | Scheme::Awq { .. }) => {
                module.contains(".layers.") && !module.ends_with(".mlp.gate")
            }
        }
    }

    /// Rows and columns that share a scale in block formats.
    pub(crate) fn block(&self) -> [usize; 2] {
        self.block
    }

    /// Whether GPTQ zeros are stored as they are, not less one.
    pub(crate) fn gptq_v2(&self) -> bool {
        self.gptq_v2
    }

    /// Whether an FP8 KV cache is declared: `kv_cache_scheme` of compressed-tensors and `ModelOpt`,
    /// `kv_cache_quant_algo` of `ModelOpt`.
    pub(crate) fn fp8_kv_cache(&self) -> bool {
        self.fp8_kv_cache
    }

    /// Inputs per group in a row of `k` with `groups` of them, if any declared scheme has that.
    ///
    /// # Errors
    /// What is declared instead.
    pub(crate) fn group_size(&self, bits: usize, k: usize, groups: usize) -> Result<usize, String> {
        let sizes = self.integers.iter().filter(|scheme| scheme.bits == bits);
        let mut sizes = sizes.map(|scheme| scheme.group.unwrap_or(k));
        sizes.find(|&size| k.div_ceil(size) == groups).ok_or_else(|| {
            let declared = self.integers.iter().map(|scheme| match scheme.group {
                Some(size) => format!("{} bits in groups of {size}", scheme.bits),
                None => format!("{} bits in whole rows", scheme.bits),
            });
            let declared: Vec<_> = declared.collect();
            let declared =
                if declared.is_empty() { "no integers".to_owned() } else { declared.join(", ") };
            format!("{} declares {declared}", self.file)
        })
    }

    fn unsupported(&self, what: &str, nearest: &str) -> QuantError {
        QuantError::Unsupported {
            file: self.file.clone(),
            what: what.to_owned(),
            nearest: nearest.to_owned(),
        }
    }
}

/// Whether a scheme has floats of 8 bits.
fn is_fp8(scheme: &Map<String, Value>) -> bool {
    text(scheme, "type") == Some("float")
        && scheme.get("num_bits").and_then(Value::as_u64) == Some(8)
}

fn object(path: &Path, name: &str) -> Result<Map<String, Value>, QuantError> {
    let bytes =
        std::fs::read(path).map_err(|error| QuantError::Io { path: path.to_owned(), error })?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(name, "the file", "a JSON object", error))
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    object.get(field).and_then(Value::as_str)
}

fn wrong(file: &str, field: &str, expected: &str, got: impl std::fmt::Display) -> QuantError {
    QuantError::Config {
        file: file.to_owned(),
        field: field.to_owned(),
        expected: expected.to_owned(),
        got: got.to_string(),
    }
}
