//! Flags about the model and the engine, which all commands share.

use std::{fs, path::PathBuf};

use clap::{Args, ValueEnum};
use eitri::{Activations, Engine, EngineBuilder, Error, KvDtype, ROBOT, ROBOT_MOE};

use super::quantity::{
    Cores, ModelLen, parse_cores, parse_count, parse_model_len, parse_quantity, parse_share,
};
use crate::console;

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Directory, .gguf file, hub id (ORG/NAME, ORG/NAME:TYPE, ORG/NAME/FILE.gguf), or a short
    /// name: `robot` (small, part of the program), `robot-moe` or `smollm2` [default: robot]
    #[arg(value_name = "MODEL", help_heading = "Model")]
    model: Option<PathBuf>,

    /// The same as MODEL
    #[arg(long = "model", value_name = "MODEL", conflicts_with = "model", hide = true)]
    model_flag: Option<PathBuf>,

    /// Branch, tag or commit of a hub id
    #[arg(long, value_name = "REVISION", help_heading = "Model")]
    revision: Option<String>,

    /// Directory with another tokenizer.json
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    tokenizer: Option<PathBuf>,

    /// Chat template, as a file or as text, instead of the model's
    #[arg(long, value_name = "FILE|TEXT", help_heading = "Model")]
    chat_template: Option<String>,

    /// Bytes for weights, KV cache and workspace together, such as 6G
    #[arg(long, value_name = "BYTES", value_parser = parse_quantity, help_heading = "Memory")]
    memory_budget: Option<u64>,

    /// The same as a share of the machine's memory
    #[arg(long, value_name = "SHARE", value_parser = parse_share, help_heading = "Memory")]
    #[arg(conflicts_with = "memory_budget")]
    gpu_memory_utilization: Option<f64>,

    /// Bytes of the KV cache
    #[arg(long, value_name = "BYTES", value_parser = parse_quantity, help_heading = "Memory")]
    kv_cache_memory_bytes: Option<u64>,

    /// Blocks of the KV cache
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Memory")]
    #[arg(conflicts_with = "kv_cache_memory_bytes")]
    num_gpu_blocks_override: Option<usize>,

    /// Element type of the KV cache; auto is fp8 where the checkpoint declares that, else bfloat16
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KvCacheDtype::Auto)]
    #[arg(help_heading = "Memory")]
    kv_cache_dtype: KvCacheDtype,

    /// Tokens per block of the KV cache
    #[arg(long, value_name = "N", value_parser = ["16"], default_value = "16")]
    #[arg(help_heading = "Memory")]
    block_size: String,

    /// Longest context: tokens (1k = 1000, 1K = 1024), or auto
    #[arg(long, value_name = "N", value_parser = parse_model_len, default_value = "auto")]
    #[arg(allow_hyphen_values = true, help_heading = "Memory")]
    max_model_len: ModelLen,

    /// Most requests that run at once [default: 64, in a chat 1]
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Scheduling")]
    max_num_seqs: Option<usize>,

    /// Most tokens computed in one step [default: 2048, in a chat 512]
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Scheduling")]
    max_num_batched_tokens: Option<usize>,

    /// Threads that compute [default: the number of --cores, or of the machine's cores]
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Computing")]
    threads: Option<usize>,

    /// Cores to which these threads are bound, such as 0,2-5
    #[arg(long, value_name = "LIST", value_parser = parse_cores, help_heading = "Computing")]
    cores: Option<Cores>,

    /// Activations that meet weights: 8-bit with a scale per 32 values for quantised ones, bf16 for
    /// bf16 and FP8 where the processor multiplies that; or exact (f32)
    #[arg(long, value_enum, value_name = "KIND", default_value_t = ActivationArithmetic::Int8)]
    #[arg(help_heading = "Computing")]
    activations: ActivationArithmetic,

    /// Source of the seeds of requests that bring none
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Computing")]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KvCacheDtype {
    Auto,
    Bfloat16,
    #[value(alias = "fp8_e4m3")]
    Fp8,
    Float32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ActivationArithmetic {
    Int8,
    Exact,
}

impl EngineArgs {
    /// The model as it was named.
    pub(crate) fn model(&self) -> PathBuf {
        let named = self.model.as_ref().or(self.model_flag.as_ref());
        named.cloned().unwrap_or_else(|| PathBuf::from(ROBOT))
    }

    /// Whether a model was named.
    pub(super) fn names_model(&self) -> bool {
        self.model.is_some() || self.model_flag.is_some()
    }

    /// Whether the model is one of those that know the robot's functions, also by the path of its files.
    pub(crate) fn is_robot(&self) -> bool {
        [ROBOT, ROBOT_MOE].iter().any(|name| self.model().ends_with(name))
    }

    pub(crate) fn kv_dtype(&self) -> Option<KvDtype> {
        match self.kv_cache_dtype {
            KvCacheDtype::Auto => None,
            KvCacheDtype::Bfloat16 => Some(KvDtype::Bf16),
            KvCacheDtype::Fp8 => Some(KvDtype::Fp8),
            KvCacheDtype::Float32 => Some(KvDtype::F32),
        }
    }

    pub(crate) fn activations(&self) -> Activations {
        match self.activations {
            ActivationArithmetic::Int8 => Activations::Int8,
            ActivationArithmetic::Exact => Activations::Exact,
        }
    }

    /// Limits for one conversation, unless they were set.
    pub(crate) fn for_one_user(&self, builder: EngineBuilder) -> EngineBuilder {
        const STEP_TOKENS: usize = 512;
        let builder = if self.max_num_seqs.is_none() { builder.max_num_seqs(1) } else { builder };
        let is_set = self.max_num_batched_tokens.is_some();
        if is_set { builder } else { builder.max_num_batched_tokens(STEP_TOKENS) }
    }

    /// Downloads a model of the hub that is not there.
    pub(crate) fn fetch(&self) -> Result<(), Error> {
        console::fetch(&self.model(), self.revision.as_deref())
    }

    /// The builder with all of these flags applied.
    pub(crate) fn builder(&self) -> Result<EngineBuilder, Error> {
        let builder =
            Engine::builder().model(self.model()).activations(self.activations()).seed(self.seed);
        let builder = set(builder, self.kv_dtype(), EngineBuilder::kv_cache_dtype);
        let builder = set(builder, self.revision.clone(), EngineBuilder::revision);
        let builder = set(builder, self.tokenizer.clone(), EngineBuilder::tokenizer);
        let builder = set(builder, self.chat_template.clone(), EngineBuilder::chat_template);
        let builder = set(builder, self.budget()?, EngineBuilder::memory_budget);
        let builder = set(builder, self.kv_cache_memory_bytes, EngineBuilder::kv_cache_bytes);
        let builder = set(builder, self.num_gpu_blocks_override, EngineBuilder::num_blocks);
        let builder = set(builder, self.max_num_seqs, EngineBuilder::max_num_seqs);
        let builder =
            set(builder, self.max_num_batched_tokens, EngineBuilder::max_num_batched_tokens);
        let builder = set(builder, self.threads, EngineBuilder::threads);
        let cores = self.cores.as_ref().map(|cores| cores.0.clone());
        let builder = set(builder, cores, EngineBuilder::cores);
        Ok(match self.max_model_len {
            ModelLen::Auto => builder,
            ModelLen::Tokens(tokens) => builder.max_model_len(tokens),
        })
    }

    fn budget(&self) -> Result<Option<u64>, Error> {
        let Some(share) = self.gpu_memory_utilization else { return Ok(self.memory_budget) };
        let total = total_memory().ok_or_else(|| Error::Setting {
            setting: "--gpu-memory-utilization",
            expected: "replaced by --memory-budget where the system does not tell its memory"
                .to_owned(),
            value: share.to_string(),
        })?;
        let budget = (total as f64 * share) as u64;
        eprintln!(
            "note: --gpu-memory-utilization {share} of {} is --memory-budget {budget} ({})",
            console::bytes(total),
            console::bytes(budget)
        );
        Ok(Some(budget))
    }
}

/// Applies a setting that may be absent.
pub(super) fn set<T>(
    builder: EngineBuilder,
    value: Option<T>,
    setter: impl FnOnce(EngineBuilder, T) -> EngineBuilder,
) -> EngineBuilder {
    match value {
        Some(value) => setter(builder, value),
        None => builder,
    }
}

/// Memory of the machine, or of the container if that is less; `None` where nothing tells.
fn total_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits =
        limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.chain([kib.checked_mul(1024)?]).min()
}
