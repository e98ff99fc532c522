//! Checkpoints on the Hugging Face and `ModelScope` hubs whose configuration is part of the program, so that
//! they can be planned for without their weights. `published/README.md` says where each comes from.

use eitri_kernels::Isa;
use eitri_quant::QuantizationConfig;

use crate::{
    GgufPreset, ModelConfig, ModelError, WeightPlan, config,
    files::object,
    weight_plan,
    weights::{Declared, Naming, Source, Weights},
};

const CONFIG: &str = "config.json";
const MODELOPT: &str = "hf_quant_config.json";

/// A published checkpoint.
#[derive(Debug)]
pub struct Published {
    /// Name of its repository without the owner.
    pub name: &'static str,
    /// Name of its repository.
    pub repository: &'static str,
    /// Its `config.json`; of a GGUF file that of the model it was made from.
    config: &'static str,
    storage: Storage,
}

/// What `config.json` does not say about the matrices.
#[derive(Debug)]
enum Storage {
    /// Nothing.
    Config,
    /// `hf_quant_config.json`.
    Modelopt(&'static str),
    /// The mixture of types of llama.cpp's quantiser.
    Gguf(&'static GgufPreset),
}

macro_rules! config {
    ($name:literal) => {
        include_str!(concat!("../published/", $name, "/config.json"))
    };
}

const fn published(
    name: &'static str,
    repository: &'static str,
    config: &'static str,
) -> Published {
    Published { name, repository, config, storage: Storage::Config }
}

/// All of them.
pub static PUBLISHED: [Published; 16] = [
    published("Qwen3-8B", "Qwen/Qwen3-8B", config!("Qwen3-8B")),
    published("Qwen3-8B-FP8", "Qwen/Qwen3-8B-FP8", config!("Qwen3-8B-FP8")),
    Published {
        storage: Storage::Modelopt(include_str!("../published/Qwen3-8B-FP4/hf_quant_config.json")),
        ..published("Qwen3-8B-FP4", "nvidia/Qwen3-8B-FP4", config!("Qwen3-8B-FP4"))
    },
    published("Qwen3-8B-GPTQ-Int4", "JunHowie/Qwen3-8B-GPTQ-Int4", config!("Qwen3-8B-GPTQ-Int4")),
    published("Qwen3-8B-GPTQ-Int8", "JunHowie/Qwen3-8B-GPTQ-Int8", config!("Qwen3-8B-GPTQ-Int8")),
    published("Qwen3-8B-AWQ", "Qwen/Qwen3-8B-AWQ", config!("Qwen3-8B-AWQ")),
    published("Qwen3-8B-Int4-W4A16", "okwinds/Qwen3-8B-Int4-W4A16", config!("Qwen3-8B-Int4-W4A16")),
    published("Qwen3-8B-Int8-W8A16", "okwinds/Qwen3-8B-Int8-W8A16", config!("Qwen3-8B-Int8-W8A16")),
    Published {
        storage: Storage::Gguf(&GgufPreset::Q5_K_M),
        ..published("Qwen3-8B-GGUF", "Qwen/Qwen3-8B-GGUF", config!("Qwen3-8B"))
    },
    published("Qwen3-32B-AWQ", "Qwen/Qwen3-32B-AWQ", config!("Qwen3-32B-AWQ")),
    published("Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B", config!("Qwen3-30B-A3B")),
    published("Qwen3-30B-A3B-FP8", "Qwen/Qwen3-30B-A3B-FP8", config!("Qwen3-30B-A3B-FP8")),
    published(
        "Qwen3-Coder-30B-A3B-Instruct-FP8",
        "Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8",
        config!("Qwen3-Coder-30B-A3B-Instruct-FP8"),
    ),
    published(
        "Qwen3-Coder-30B-A3B-Instruct-AWQ-8bit",
        "cpatonn/Qwen3-Coder-30B-A3B-Instruct-AWQ-8bit",
        config!("Qwen3-Coder-30B-A3B-Instruct-AWQ-8bit"),
    ),
    published(
        "Qwen3-Coder-30B-A3B-Instruct-AWQ-4bit",
        "cpatonn/Qwen3-Coder-30B-A3B-Instruct-AWQ-4bit",
        config!("Qwen3-Coder-30B-A3B-Instruct-AWQ-4bit"),
    ),
    published(
        "Qwen3-Coder-30B-A3B-Instruct-Int4-W4A16",
        "okwinds/Qwen3-Coder-30B-A3B-Instruct-Int4-W4A16",
        config!("Qwen3-Coder-30B-A3B-Instruct-Int4-W4A16"),
    ),
];

impl Published {
    /// The checkpoint of this name, with or without its owner, in upper or lower case.
    pub fn find(name: &str) -> Option<&'static Self> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        PUBLISHED.iter().find(|known| is(known.name) || is(known.repository))
    }

    /// What of its repository is meant.
    pub fn describe(&self) -> String {
        match self.storage {
            Storage::Gguf(preset) => format!("{}, {}", self.repository, preset.name.to_uppercase()),
            Storage::Config | Storage::Modelopt(_) => self.repository.to_owned(),
        }
    }

    /// Shape of the network.
    ///
    /// # Errors
    /// As for a `config.json` in a directory.
    pub fn config(&self) -> Result<ModelConfig, ModelError> {
        config::from_json(CONFIG, &object(CONFIG, self.config.as_bytes())?)
    }

    /// What its weights take in files and in memory with kernels for `isa`.
    ///
    /// # Errors
    /// When the configuration does not tell, which that of none in [`PUBLISHED`] leaves open.
    pub fn weight_plan(&self, isa: Isa) -> Result<WeightPlan, ModelError> {
        match self.storage {
            Storage::Config => plan_of_config(self.config, None, isa),
            Storage::Modelopt(side_file) => plan_of_config(self.config, Some(side_file), isa),
            Storage::Gguf(preset) => {
                let declared = Declared::Gguf(preset);
                plan(&self.config()?, Naming::Gguf, &declared, isa)
            }
        }
    }
}

/// What the weights of a checkpoint would take that has this `config.json` and, where its
/// quantisation is declared there, this `hf_quant_config.json`. The rules are those of loading, and the
/// types of scales, which no configuration tells, those that the producers of each format write.
///
/// # Errors
/// When the configuration is damaged, not supported or does not tell how layers are stored.
pub fn plan_of_config(
    config: &str,
    hf_quant_config: Option<&str>,
    isa: Isa,
) -> Result<WeightPlan, ModelError> {
    let json = object(CONFIG, config.as_bytes())?;
    let config = config::from_json(CONFIG, &json)?;
    let dense = config::dense_encoding(CONFIG, &json)?;
    let quantization = match hf_quant_config {
        Some(text) => {
            let side_file = object(MODELOPT, text.as_bytes())?;
            Some(QuantizationConfig::in_side_file(MODELOPT, &side_file)?)
        }
        None => QuantizationConfig::in_config(CONFIG, &json)?,
    };
    let declared = Declared::HuggingFace(quantization, dense);
    plan(&config, Naming::HuggingFace, &declared, isa)
}

fn plan(
    config: &ModelConfig,
    naming: Naming,
    declared: &Declared,
    isa: Isa,
) -> Result<WeightPlan, ModelError> {
    let source = Source::Declared(declared);
    Ok(weight_plan::plan(&Weights { source, config, naming }, isa)?.0)
}
