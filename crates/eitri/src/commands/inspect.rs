//! `eitri inspect`.

use std::fmt;

use anyhow::Result;
use eitri::{KvDtype, MemoryPlan, ModelInfo, PlannedEngine, ProbeReport, WeightPlanRow};
use eitri_kernels::{Context, ContextConfig, WeightFormat, ops};
use serde_json::{Value, json};

use crate::{
    cli::InspectArgs,
    console::{self, bytes, parameters},
};

pub(crate) fn run(arguments: &InspectArgs) -> Result<()> {
    arguments.engine.fetch()?;
    let planned = arguments.engine.builder()?.plan()?;
    let inspection = Inspection::new(&planned, arguments)?;
    let text =
        if arguments.json { format!("{:#}", inspection.to_json()) } else { inspection.to_string() };
    console::print_result(&text)
}

/// Everything that is shown.
struct Inspection<'a> {
    info: &'a ModelInfo,
    plan: &'a MemoryPlan,
    /// The kernel of each row of the weight plan.
    kernels: Vec<&'static str>,
    /// Outcomes of the probes of the kernels that this model uses.
    probes: Vec<ProbeReport>,
}

impl<'a> Inspection<'a> {
    fn new(planned: &'a PlannedEngine, arguments: &InspectArgs) -> Result<Self> {
        let ctx = Context::new(&ContextConfig {
            activations: arguments.engine.activations(),
            ..ContextConfig::default()
        })?;
        let (info, plan) = (planned.model_info(), planned.memory_plan());
        let rows = &info.weights.rows;
        let kernels = rows.iter().map(|row| ops::kernel_name(&ctx, row.format)).collect();
        let mut probes = eitri_kernels::probe(&ctx)?;
        probes.retain(|probe| is_used(probe, rows, plan.kv_dtype));
        Ok(Self { info, plan, kernels, probes })
    }

    /// Bytes that decoding one token behind a context of `context` tokens reads.
    fn bytes_per_token(&self, context: usize) -> u64 {
        let kv = self.info.kv_bytes_per_token(self.plan.kv_dtype);
        self.info.weights.bytes_per_token() + kv * context as u64
    }

    fn to_json(&self) -> Value {
        let Self { info, plan, .. } = self;
        let config = &info.config;
        let moe = config.moe.as_ref().map(|moe| {
            json!({
                "experts": moe.experts,
                "experts_per_token": moe.top_k,
                "intermediate_size": moe.intermediate_size,
            })
        });
        let weights: Vec<Value> = info
            .weights
            .rows
            .iter()
            .zip(&self.kernels)
            .map(|(row, kernel)| weight_json(row, kernel))
            .collect();
        let probes: Vec<Value> = self.probes.iter().map(probe_json).collect();
        json!({
            "name": info.name,
            "path": info.path,
            "architecture": config.architecture.name,
            "parameters": info.parameters(),
            "layers": config.layers,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "heads": config.heads,
            "kv_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_position_embeddings,
            "tie_word_embeddings": config.tie_word_embeddings,
            "moe": moe,
            "instruction_set": info.instruction_set,
            "weights": weights,
            "kernels": probes,
            "file_bytes": info.weights.file_bytes(),
            "bytes_per_token": {
                "weights": info.weights.bytes_per_token(),
                "kv_per_context_token": info.kv_bytes_per_token(plan.kv_dtype),
            },
            "has_kv_scales": info.has_kv_scales,
            "memory_plan": plan_json(plan),
        })
    }

    fn write_shape(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.info.config;
        writeln!(f, "{} ({})", self.info.name, self.info.place())?;
        writeln!(
            f,
            "{} with {} parameters: {} layers of {} (feed-forward {}), {} heads of {} ({} for keys \
             and values), vocabulary {}, context {}",
            config.architecture.name,
            parameters(self.info.parameters()),
            config.layers,
            config.hidden_size,
            config.intermediate_size,
            config.heads,
            config.head_dim,
            config.kv_heads,
            config.vocab_size,
            config.max_position_embeddings
        )?;
        let Some(moe) = &config.moe else { return Ok(()) };
        let (top_k, experts, width) = (moe.top_k, moe.experts, moe.intermediate_size);
        writeln!(f, "{top_k} of {experts} experts of {width} per token")
    }

    fn write_weights(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:>5} {:>16}  {:<7} {:<11} {:<27} {:>10} {:>10}",
            "weights", "count", "shape", "stored", "packed", "kernel", "memory", "per token"
        )?;
        let weights = &self.info.weights;
        for (row, kernel) in weights.rows.iter().zip(&self.kernels) {
            let stack = if row.experts > 1 { format!("{}x", row.experts) } else { String::new() };
            writeln!(
                f,
                "{:<22} {:>5} {:>16}  {:<7} {:<11} {:<27} {:>10} {:>10}",
                row.kind,
                row.count,
                format!("{stack}{}x{}", row.n, row.k),
                row.stored,
                row.format.name(),
                kernel,
                bytes(row.memory_bytes),
                bytes(row.bytes_per_token)
            )?;
        }
        let in_files = format!("in all; in files {}", bytes(weights.file_bytes()));
        let (memory, read) = (bytes(weights.memory_bytes()), bytes(weights.bytes_per_token()));
        writeln!(f, "{in_files:<94} {memory:>10} {read:>10}")
    }

    fn write_kernels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instruction_set = self.info.instruction_set;
        writeln!(f, "kernels ({instruction_set}), compared with their references just now")?;
        for ProbeReport { kernel, case, difference, tolerance } in &self.probes {
            writeln!(f, "  {kernel:<27} {case:<22} {difference:.1e} of {tolerance:.0e} allowed")?;
        }
        Ok(())
    }
}

impl fmt::Display for Inspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_shape(f)?;
        writeln!(f)?;
        self.write_weights(f)?;
        writeln!(f)?;
        self.write_kernels(f)?;
        writeln!(f, "\n{}", self.plan)?;
        match (self.plan.kv_dtype, self.info.has_kv_scales) {
            (KvDtype::Fp8, true) => writeln!(f, "scales of keys and values: the checkpoint's")?,
            (KvDtype::Fp8, false) => writeln!(f, "scales of keys and values: 1")?,
            (_, true) => writeln!(
                f,
                "the checkpoint's scales of keys and values are for --kv-cache-dtype fp8: not used"
            )?,
            (_, false) => {}
        }
        let contexts = [1, 4096, 32_768];
        for context in contexts.into_iter().filter(|&len| len <= self.plan.max_model_len) {
            let read = bytes(self.bytes_per_token(context));
            write!(f, "\ndecoding one token behind a context of {context} reads {read}")?;
        }
        Ok(())
    }
}

/// Whether a model with these weights uses the kernel of `probe`.
fn is_used(probe: &ProbeReport, rows: &[WeightPlanRow], kv_dtype: KvDtype) -> bool {
    if probe.kernel.starts_with("attention-") {
        return probe.kernel.ends_with(kv_dtype.name());
    }
    // Probes of weights begin with the format; those of other operations name none.
    let of = |format: WeightFormat| probe.case.starts_with(&format!("{} x ", format.name()));
    !WeightFormat::ALL.into_iter().any(of) || rows.iter().any(|row| of(row.format))
}

fn weight_json(row: &WeightPlanRow, kernel: &str) -> Value {
    json!({
        "kind": row.kind,
        "count": row.count,
        "experts": row.experts,
        "n": row.n,
        "k": row.k,
        "stored": row.stored,
        "packed": row.format.name(),
        "kernel": kernel,
        "file_bytes": row.file_bytes,
        "memory_bytes": row.memory_bytes,
        "bytes_per_token": row.bytes_per_token,
    })
}

fn probe_json(probe: &ProbeReport) -> Value {
    json!({
        "kernel": probe.kernel,
        "case": probe.case,
        "difference": probe.difference,
        "tolerance": probe.tolerance,
    })
}

fn plan_json(plan: &MemoryPlan) -> Value {
    json!({
        "weights": plan.weights,
        "kv_cache": plan.kv_cache,
        "kv_dtype": plan.kv_dtype.name(),
        "workspace": plan.workspace,
        "sampler": plan.sampler,
        "other": plan.other,
        "total": plan.total(),
        "budget": plan.budget,
        "available": plan.available,
        "num_blocks": plan.num_blocks,
        "block_size": plan.block_size,
        "max_model_len": plan.max_model_len,
    })
}
