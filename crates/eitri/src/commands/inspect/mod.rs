//! `eitri inspect`.

mod dequantize;
mod reads;

use std::{collections::BTreeMap, fmt};

use anyhow::{Result, bail};
use eitri::{KvDtype, MemoryPlan, ModelInfo, PUBLISHED, ProbeReport, Published, WeightPlanRow};
use eitri_kernels::{Context, ContextConfig, WeightFormat, ops};
use serde_json::{Value, json};

use crate::{
    cli::{Bandwidth, InspectArgs},
    console::{self, bytes, parameters},
};

pub(crate) fn run(arguments: &InspectArgs) -> Result<()> {
    if let (Some(checkpoint), Some(out)) = (&arguments.dequantize, &arguments.out) {
        return dequantize::run(checkpoint, out, arguments);
    }
    match arguments.config.as_deref() {
        Some("list") => console::print_result(&list(arguments.json)),
        Some(name) => {
            let Some(published) = Published::find(name) else {
                bail!("--config {name} is not known; `--config list` prints the names");
            };
            let info = ModelInfo::of_published(published)?;
            print(&Inspection::new(&info, None, arguments)?, arguments)
        }
        None => {
            arguments.engine.fetch()?;
            let planned = arguments.engine.builder()?.plan()?;
            let (info, plan) = (planned.model_info(), planned.memory_plan());
            print(&Inspection::new(info, Some(plan), arguments)?, arguments)
        }
    }
}

fn print(inspection: &Inspection<'_>, arguments: &InspectArgs) -> Result<()> {
    let text =
        if arguments.json { format!("{:#}", inspection.to_json()) } else { inspection.to_string() };
    console::print_result(&text)
}

fn list(as_json: bool) -> String {
    if as_json {
        let names: Vec<&str> = PUBLISHED.iter().map(|published| published.name).collect();
        return format!("{:#}", json!(names));
    }
    let line = |published: &Published| format!("{:<42} {}", published.name, published.describe());
    PUBLISHED.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Everything that is shown.
struct Inspection<'a> {
    info: &'a ModelInfo,
    /// Of a model that can be loaded.
    plan: Option<&'a MemoryPlan>,
    kv_dtype: KvDtype,
    /// The kernel of each row of the weight plan.
    kernels: Vec<&'static str>,
    /// Outcomes of the probes of the kernels that this model uses.
    probes: Vec<ProbeReport>,
    bandwidths: &'a [Bandwidth],
}

impl<'a> Inspection<'a> {
    fn new(
        info: &'a ModelInfo,
        plan: Option<&'a MemoryPlan>,
        arguments: &'a InspectArgs,
    ) -> Result<Self> {
        let ctx = Context::new(&ContextConfig {
            activations: arguments.engine.activations(),
            ..ContextConfig::default()
        })?;
        let asked = arguments.engine.kv_dtype();
        let kv_dtype = plan.map_or(asked.unwrap_or_default(), |plan| plan.kv_dtype);
        let bandwidths = arguments.bandwidths();
        let rows = &info.weights.rows;
        let kernels = rows.iter().map(|row| ops::kernel_name(&ctx, row.format)).collect();
        let mut probes = eitri_kernels::probe(&ctx)?;
        probes.retain(|probe| is_used(probe, rows, kv_dtype));
        Ok(Self { info, plan, kv_dtype, kernels, probes, bandwidths })
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
            "memory_bytes": info.weights.memory_bytes(),
            "bytes_per_token": {
                "weights": info.weights.bytes_per_step(1),
                "kv_per_context_token": info.kv_bytes_per_token(self.kv_dtype),
            },
            "has_kv_scales": info.has_kv_scales,
            "reads": self.reads().iter().map(reads::Read::to_json).collect::<Vec<_>>(),
            "ignored_tensors": { "unknown": info.unused.unknown, "known": info.unused.known },
            "memory_plan": plan.map(plan_json),
        })
    }

    fn write_shape(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.info.config;
        let place = match self.plan {
            Some(_) => self.info.place(),
            None => "by its configuration, without weights".to_owned(),
        };
        writeln!(f, "{} ({place})", self.info.name)?;
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
            "{:<22} {:>5} {:>16}  {:<11} {:>7}  {:<16} {:<27} {:>10} {:>10} {:>10}",
            "weights",
            "count",
            "shape",
            "stored",
            "group",
            "packed",
            "kernel",
            "memory",
            "1 reads",
            "8 read"
        )?;
        let weights = &self.info.weights;
        for (row, kernel) in weights.rows.iter().zip(&self.kernels) {
            let stack = if row.experts > 1 { format!("{}x", row.experts) } else { String::new() };
            writeln!(
                f,
                "{:<22} {:>5} {:>16}  {:<11} {:>7}  {:<16} {:<27} {:>10} {:>10} {:>10}",
                row.kind,
                row.count,
                format!("{stack}{}x{}", row.n, row.k),
                row.stored,
                row.scale_group,
                row.format.name(),
                kernel,
                bytes(row.memory_bytes),
                bytes(row.bytes_per_step(1)),
                bytes(row.bytes_per_step(8))
            )?;
        }
        let in_files = format!("in all; in files {}", bytes(weights.file_bytes()));
        let memory = bytes(weights.memory_bytes());
        let [one, eight] = [1, 8].map(|batch| bytes(weights.bytes_per_step(batch)));
        writeln!(f, "{in_files:<112} {memory:>10} {one:>10} {eight:>10}")
    }

    fn write_unused(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unused = &self.info.unused;
        for (names, why) in [
            (&unused.unknown, "the network has no use for"),
            (&unused.known, "of activations or keys and values, which are held more exactly,"),
        ] {
            if !names.is_empty() {
                writeln!(f, "ignored: {} tensors that {why}", names.len())?;
                for (pattern, count) in patterns(names) {
                    writeln!(f, "  {count:>5} {pattern}")?;
                }
            }
        }
        Ok(())
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
        self.write_unused(f)?;
        self.write_kernels(f)?;
        if let Some(plan) = self.plan {
            writeln!(f, "\n{plan}")?;
            match (plan.kv_dtype, self.info.has_kv_scales) {
                (KvDtype::Fp8, true) => writeln!(f, "scales of keys and values: the checkpoint's")?,
                (KvDtype::Fp8, false) => writeln!(f, "scales of keys and values: 1")?,
                (_, true) => writeln!(
                    f,
                    "the checkpoint's scales of keys and values are for --kv-cache-dtype fp8: not used"
                )?,
                (_, false) => {}
            }
        }
        writeln!(f)?;
        self.write_reads(f)
    }
}

/// Names with `*` for the numbers of layers and experts, and how many tensors each stands for.
fn patterns(names: &[String]) -> BTreeMap<String, usize> {
    let mut patterns = BTreeMap::new();
    for name in names {
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        let part = |part| if is_number(&part) { "*" } else { part };
        let pattern = name.split('.').map(part).collect::<Vec<_>>().join(".");
        *patterns.entry(pattern).or_default() += 1;
    }
    patterns
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
        "group": row.scale_group.to_string(),
        "packed": row.format.name(),
        "kernel": kernel,
        "file_bytes": row.file_bytes,
        "memory_bytes": row.memory_bytes,
        "bytes_per_token": row.bytes_per_step(1),
        "bytes_per_step_of_8": row.bytes_per_step(8),
        "distinct_experts_of_8": row.distinct_experts(8),
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
