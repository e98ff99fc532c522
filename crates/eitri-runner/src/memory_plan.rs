//! Where memory will go, computed before anything is allocated.

use std::fmt;

use eitri_kernels::{Isa, KV_BLOCK};
use eitri_models::{ModelConfig, ModelFiles};

use crate::{
    KvDtype, RunnerConfig, RunnerError,
    available_memory::available_memory,
    error::{Gib, Shortage},
    kv_memory::KvMemory,
    sampler::Sampler,
    sequences::Limits,
    warm_up,
};

/// Tokens in the KV cache when nothing says how large it should be. A server takes a modest share
/// of the machine unless it is told to take more; longer contexts than this are asked for with
/// `--max-model-len`, more of them at once with `--memory-budget`.
pub const DEFAULT_KV_TOKENS: usize = 32_768;

/// Allocations too small to be listed: thread stacks, channels, the tokenizer.
const SMALL_THINGS: u64 = 48 << 20;

/// Where memory goes, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Packed weights.
    pub weights: u64,
    /// Keys and values: `num_blocks` blocks in every layer.
    pub kv_cache: u64,
    /// Their element type.
    pub kv_dtype: KvDtype,
    /// Intermediate values of the largest step, logits included.
    pub workspace: u64,
    /// Memory of the sampler.
    pub sampler: u64,
    /// Rotation table, block tables and small things.
    pub other: u64,
    /// What `memory_budget` allows.
    pub budget: Option<u64>,
    /// What the system could give; `None` where it does not say.
    pub available: Option<u64>,
    /// Blocks of the KV cache.
    pub num_blocks: usize,
    /// Tokens per block.
    pub block_size: usize,
    /// Longest sequence, prompt and output together.
    pub max_model_len: usize,
    /// The model's own limit, when `max_model_len` was lowered to what memory allows.
    pub reduced_from: Option<usize>,
}

/// What a model needs, apart from its limits and budgets.
#[derive(Debug, Clone, Copy)]
struct Needs {
    weights: u64,
    workspace: u64,
    sampler: u64,
    kv_dtype: KvDtype,
    bytes_per_block: u64,
    /// Rotation table, per position.
    bytes_per_position: u64,
    /// Longest context of the model.
    model_limit: usize,
}

impl MemoryPlan {
    /// Plans for a model on this machine.
    ///
    /// # Errors
    /// [`RunnerError::DoesNotFit`] with the numbers and the flags to change.
    pub fn compute(files: &ModelFiles, config: &RunnerConfig) -> Result<Self, RunnerError> {
        config.validate()?;
        let needs = Needs::of(files, config)?;
        needs.plan(config, available_memory())
    }

    /// Everything together.
    pub fn total(&self) -> u64 {
        self.weights + self.kv_cache + self.workspace + self.sampler + self.other
    }

    /// Tokens that fit the KV cache.
    pub fn kv_tokens(&self) -> usize {
        self.num_blocks * self.block_size
    }

    pub(crate) fn limits(&self, config: &RunnerConfig) -> Limits {
        Limits {
            max_num_seqs: config.max_num_seqs,
            max_model_len: self.max_model_len,
            num_blocks: self.num_blocks,
            block_size: self.block_size,
        }
    }
}

impl Needs {
    fn of(files: &ModelFiles, config: &RunnerConfig) -> Result<Self, RunnerError> {
        let model: &ModelConfig = files.config();
        let (rows, logit_rows) = (config.max_num_batched_tokens, config.max_logit_rows());
        let weights = files.weight_plan(Isa::detect())?;
        let shape = model.head_shape();
        let kv_dtype = config.kv_dtype.unwrap_or_else(|| KvDtype::of(files));
        Ok(Self {
            weights: weights.memory_bytes(),
            workspace: (eitri_models::arena_bytes(model, rows, logit_rows)
                + warm_up::scratch_bytes(model, rows)) as u64,
            sampler: Sampler::bytes(model.vocab_size, config.threads),
            kv_dtype,
            bytes_per_block: KvMemory::bytes_per_block(model.layers, &shape, kv_dtype)?,
            bytes_per_position: model.rope_bytes(1) as u64,
            model_limit: model.max_position_embeddings,
        })
    }

    fn other(&self, config: &RunnerConfig, len: usize) -> u64 {
        let limits = Limits {
            max_num_seqs: config.max_num_seqs,
            max_model_len: len,
            num_blocks: 0,
            block_size: KV_BLOCK,
        };
        self.bytes_per_position * len as u64 + limits.table_bytes() + SMALL_THINGS
    }

    fn plan(
        &self,
        config: &RunnerConfig,
        available: Option<u64>,
    ) -> Result<MemoryPlan, RunnerError> {
        let len = config.max_model_len.unwrap_or(self.model_limit);
        if len > self.model_limit {
            return Err(RunnerError::Setting {
                flag: "--max-model-len",
                expected: format!("at most {}, the model's own limit", self.model_limit),
                value: len as u64,
            });
        }
        let mut plan = MemoryPlan {
            weights: self.weights,
            kv_cache: 0,
            kv_dtype: self.kv_dtype,
            workspace: self.workspace,
            sampler: self.sampler,
            other: self.other(config, len),
            budget: config.memory_budget,
            available,
            num_blocks: 0,
            block_size: KV_BLOCK,
            max_model_len: len,
            reduced_from: None,
        };
        plan.num_blocks = self.blocks(config, &plan);
        plan.kv_cache = plan.num_blocks as u64 * self.bytes_per_block;
        let one_sequence = len.div_ceil(KV_BLOCK);
        if plan.num_blocks < one_sequence {
            if config.max_model_len.is_some() || plan.num_blocks == 0 {
                return Err(self.too_long(config, &plan));
            }
            plan.max_model_len = plan.kv_tokens();
            plan.reduced_from = Some(len);
            plan.other = self.other(config, plan.max_model_len);
        }
        plan.check()?;
        Ok(plan)
    }

    /// Blocks of the KV cache: as overridden, or what the budget leaves, or a default; in the last
    /// two cases no more than could ever be used.
    fn blocks(&self, config: &RunnerConfig, plan: &MemoryPlan) -> usize {
        if let Some(blocks) = config.num_blocks {
            return blocks;
        }
        let one_sequence = plan.max_model_len.div_ceil(KV_BLOCK);
        let useful = one_sequence.saturating_mul(config.max_num_seqs);
        let fitting =
            |bytes: u64| usize::try_from(bytes / self.bytes_per_block).unwrap_or(usize::MAX);
        if let Some(bytes) = config.kv_cache_bytes {
            return fitting(bytes);
        }
        let fixed = plan.total();
        if let Some(budget) = config.memory_budget {
            return fitting(budget.saturating_sub(fixed)).min(useful);
        }
        let asked = config.max_model_len.map_or(0, |_| one_sequence);
        let default = DEFAULT_KV_TOKENS.div_ceil(KV_BLOCK).max(asked);
        let left = plan.available.map_or(usize::MAX, |bytes| fitting(bytes.saturating_sub(fixed)));
        default.min(useful).min(left)
    }

    /// Not even one sequence of the longest length fits, and lowering the length was not allowed or
    /// would leave nothing.
    fn too_long(&self, config: &RunnerConfig, plan: &MemoryPlan) -> RunnerError {
        let fixed = plan.total() - plan.kv_cache;
        let lowered = config.max_model_len.is_none();
        let len = if lowered { KV_BLOCK } else { plan.max_model_len };
        let kv_cache = len.div_ceil(KV_BLOCK) as u64 * self.bytes_per_block;
        let (limit, limited_by) = if config.num_blocks.is_some() {
            (fixed + plan.kv_cache, "what --num-gpu-blocks-override leaves for it")
        } else if config.kv_cache_bytes.is_some() {
            (fixed + plan.kv_cache, "what --kv-cache-memory-bytes leaves for it")
        } else if let Some(budget) = config.memory_budget {
            (budget, "--memory-budget")
        } else {
            (plan.available.unwrap_or_default(), AVAILABLE)
        };
        RunnerError::DoesNotFit(Box::new(Shortage {
            purpose: format!("one sequence of {len} tokens"),
            needed: fixed + kv_cache,
            limit,
            limited_by,
            weights: plan.weights,
            kv_cache,
            advice: "lower --max-model-len or --max-num-batched-tokens, or raise --memory-budget \
                     or --num-gpu-blocks-override",
        }))
    }
}

const AVAILABLE: &str = "the memory that this machine can give (MemAvailable or a cgroup's limit)";

impl MemoryPlan {
    fn check(&self) -> Result<(), RunnerError> {
        let limits = [
            (
                self.budget,
                "--memory-budget",
                "raise it, or lower --num-gpu-blocks-override, \
              --max-num-batched-tokens or --max-num-seqs",
            ),
            (
                self.available,
                AVAILABLE,
                "set a lower --memory-budget or --num-gpu-blocks-override, \
              or free memory",
            ),
        ];
        for (limit, limited_by, advice) in limits {
            let Some(limit) = limit.filter(|&limit| self.total() > limit) else { continue };
            return Err(RunnerError::DoesNotFit(Box::new(Shortage {
                purpose: "the model".to_owned(),
                needed: self.total(),
                limit,
                limited_by,
                weights: self.weights,
                kv_cache: self.kv_cache,
                advice,
            })));
        }
        Ok(())
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14}{:>10}", "memory plan", "GiB")?;
        writeln!(f, "{:<14}{:>10}", "weights", Gib(self.weights))?;
        let (blocks, size) = (self.num_blocks, self.block_size);
        let cache = format!("{blocks} blocks of {size} tokens in {}", self.kv_dtype.name());
        writeln!(f, "{:<14}{:>10}  {cache}", "KV cache", Gib(self.kv_cache))?;
        writeln!(f, "{:<14}{:>10}", "workspace", Gib(self.workspace))?;
        writeln!(f, "{:<14}{:>10}", "sampler", Gib(self.sampler))?;
        writeln!(f, "{:<14}{:>10}", "other", Gib(self.other))?;
        writeln!(f, "{:<14}{:>10}", "total", Gib(self.total()))?;
        if let Some(budget) = self.budget {
            writeln!(f, "{:<14}{:>10}", "budget", Gib(budget))?;
        }
        if let Some(available) = self.available {
            writeln!(f, "{:<14}{:>10}", "available", Gib(available))?;
        }
        write!(f, "{:<14}{:>10}", "max_model_len", self.max_model_len)?;
        if let Some(limit) = self.reduced_from {
            write!(f, "  lowered from the model's {limit}: one sequence must fit the KV cache")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const NEEDS: Needs = Needs {
        weights: GIB,
        workspace: GIB / 4,
        sampler: 8 << 20,
        kv_dtype: KvDtype::Bf16,
        bytes_per_block: 1 << 20,
        bytes_per_position: 512,
        model_limit: 40_960,
    };

    fn refused(config: &RunnerConfig, available: Option<u64>) -> String {
        NEEDS.plan(config, available).unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_modest_and_lowers_the_context() {
        let plan = NEEDS.plan(&RunnerConfig::default(), Some(100 * GIB)).unwrap();
        assert_eq!(plan.num_blocks, DEFAULT_KV_TOKENS / 16);
        assert_eq!((plan.max_model_len, plan.reduced_from), (DEFAULT_KV_TOKENS, Some(40_960)));
        assert_eq!(plan.kv_cache, 2 * GIB);
        let shown = plan.to_string();
        assert!(
            shown.contains("KV cache           2.000  2048 blocks of 16 tokens in bf16\n"),
            "{shown}"
        );
        assert!(shown.contains("lowered from the model's 40960"), "{shown}");
    }

    #[test]
    fn the_cache_gets_what_the_budget_leaves_but_no_more_than_is_useful() {
        let config = RunnerConfig { memory_budget: Some(2 * GIB), ..RunnerConfig::default() };
        let plan = NEEDS.plan(&config, None).unwrap();
        assert!(plan.total() <= 2 * GIB && plan.total() > 2 * GIB - (32 << 20), "{plan}");
        assert_eq!(plan.max_model_len, plan.kv_tokens());
        let few = RunnerConfig {
            max_num_seqs: 2,
            max_model_len: Some(100),
            memory_budget: Some(50 * GIB),
            ..RunnerConfig::default()
        };
        let plan = NEEDS.plan(&few, None).unwrap();
        assert_eq!((plan.num_blocks, plan.max_model_len, plan.reduced_from), (14, 100, None));
    }

    #[test]
    fn a_length_that_the_user_set_is_kept_or_refused() {
        let config = RunnerConfig { max_model_len: Some(40_000), ..RunnerConfig::default() };
        assert_eq!(NEEDS.plan(&config, None).unwrap().num_blocks, 2500);
        let tight = RunnerConfig { memory_budget: Some(2 * GIB), ..config.clone() };
        let message = refused(&tight, None);
        for part in
            ["40000 tokens", "2.000 GiB", "weights 1.000", "--max-model-len", "--memory-budget"]
        {
            assert!(message.contains(part), "{message}");
        }
        let blocks = RunnerConfig { num_blocks: Some(10), ..config };
        assert!(refused(&blocks, None).contains("--num-gpu-blocks-override"));
        let beyond = RunnerConfig { max_model_len: Some(50_000), ..RunnerConfig::default() };
        let message = "--max-model-len must be at most 40960, the model's own limit, got 50000";
        assert_eq!(refused(&beyond, None), message);
    }

    #[test]
    fn what_the_machine_cannot_give_is_refused() {
        let config = RunnerConfig { memory_budget: Some(8 * GIB), ..RunnerConfig::default() };
        assert!(refused(&config, Some(3 * GIB)).contains("MemAvailable"));
        assert!(refused(&RunnerConfig::default(), Some(GIB)).contains("MemAvailable"));
        // Without a budget the cache shrinks to what there is.
        let plan = NEEDS.plan(&RunnerConfig::default(), Some(2 * GIB)).unwrap();
        assert!(plan.total() <= 2 * GIB && plan.num_blocks > 600, "{plan}");
        let blocks = RunnerConfig { num_blocks: Some(4000), ..config };
        assert!(refused(&blocks, Some(3 * GIB)).contains("the model takes"));
    }

    #[test]
    fn an_override_is_taken_as_it_is() {
        let config = RunnerConfig {
            num_blocks: Some(7),
            max_model_len: Some(100),
            ..RunnerConfig::default()
        };
        assert_eq!(NEEDS.plan(&config, None).unwrap().num_blocks, 7);
        let bytes = RunnerConfig { kv_cache_bytes: Some(5 << 20), ..RunnerConfig::default() };
        let plan = NEEDS.plan(&bytes, None).unwrap();
        assert_eq!((plan.num_blocks, plan.max_model_len), (5, 80));
    }
}
