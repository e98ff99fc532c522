//! What the weights will take, computed from headers alone.

use eitri_kernels::{Isa, Weight, WeightFormat};
use eitri_quant::{Linear, Matrix, QuantError, ReadOrder, ScaleGroup};

use crate::{
    ModelError,
    weights::{Slot, Weights},
};

/// Equal matrices of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightPlanRow {
    /// Which ones, such as `attention q,k,v`.
    pub kind: &'static str,
    /// How they are stored in the file, such as `Q4_1`.
    pub stored: &'static str,
    /// Which of their values share a scale in the file.
    pub scale_group: ScaleGroup,
    /// How they are packed.
    pub format: WeightFormat,
    /// Output rows.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Matrices stacked in one weight; 1 for a dense one.
    pub experts: usize,
    /// How many such weights the network has.
    pub count: usize,
    /// Bytes of all in the files.
    pub file_bytes: u64,
    /// Bytes of all in memory.
    pub memory_bytes: u64,
    /// How much of them a step reads.
    pub share: ReadShare,
}

/// How much of its weights a decode step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadShare {
    /// Everything.
    All,
    /// Next to nothing: one row per token.
    Rows,
    /// The matrices of chosen experts, so many per token.
    Experts(usize),
}

impl WeightPlanRow {
    /// Experts that a step of `batch` sequences reads of each weight, on average if the choices of
    /// tokens are independent and even: `E (1 - (1 - k/E)^batch)`. `None` for other weights.
    pub fn distinct_experts(&self, batch: usize) -> Option<f64> {
        let ReadShare::Experts(top_k) = self.share else { return None };
        let experts = self.experts as f64;
        Some(experts * (1.0 - (1.0 - top_k as f64 / experts).powf(batch as f64)))
    }

    /// Share of the bytes that a step of `batch` sequences, one token each, reads.
    fn read(&self, batch: usize) -> f64 {
        match self.share {
            ReadShare::All => 1.0,
            ReadShare::Rows => 0.0,
            ReadShare::Experts(_) => {
                self.distinct_experts(batch).unwrap_or_default() / self.experts as f64
            }
        }
    }

    /// Bytes in memory that a step of `batch` sequences, one token each, reads.
    pub fn bytes_per_step(&self, batch: usize) -> u64 {
        (self.memory_bytes as f64 * self.read(batch)).round() as u64
    }

    /// The same in bytes of the files.
    pub fn file_bytes_per_step(&self, batch: usize) -> u64 {
        (self.file_bytes as f64 * self.read(batch)).round() as u64
    }
}

/// All matrices of a network, layer by layer kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightPlan {
    /// One row per kind, format and shape.
    pub rows: Vec<WeightPlanRow>,
}

impl WeightPlan {
    /// Bytes of all weights in the files.
    pub fn file_bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.file_bytes).sum()
    }

    /// Bytes of all weights in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.memory_bytes).sum()
    }

    /// Bytes in memory that a step of `batch` sequences, one token each, reads.
    pub fn bytes_per_step(&self, batch: usize) -> u64 {
        self.rows.iter().map(|row| row.bytes_per_step(batch)).sum()
    }

    /// The same in bytes of the files.
    pub fn file_bytes_per_step(&self, batch: usize) -> u64 {
        self.rows.iter().map(|row| row.file_bytes_per_step(batch)).sum()
    }

    fn add(&mut self, kind: &'static str, isa: Isa, matrix: &Matrix<'_>, share: ReadShare) {
        let (format, n, k) = (matrix.format(), matrix.n(), matrix.k());
        let experts = matrix.experts();
        let memory = Weight::packed_bytes(isa, format, n, k, experts) as u64;
        let file = matrix.file_bytes() as u64;
        let same = |row: &&mut WeightPlanRow| {
            (row.kind, row.stored, row.scale_group, row.format)
                == (kind, matrix.stored(), matrix.scale_group(), format)
                && (row.n, row.k, row.experts) == (n, k, experts)
        };
        if let Some(row) = self.rows.iter_mut().find(same) {
            row.count += 1;
            row.file_bytes += file;
            row.memory_bytes += memory;
            return;
        }
        self.rows.push(WeightPlanRow {
            kind,
            stored: matrix.stored(),
            scale_group: matrix.scale_group(),
            format,
            n,
            k,
            experts,
            count: 1,
            file_bytes: file,
            memory_bytes: memory,
            share,
        });
    }
}

/// Visits every matrix as loading will, in the same order, and reads none.
///
/// # Errors
/// Names all tensors that are missing, or the first one that does not fit.
pub(crate) fn plan<'a>(
    weights: &Weights<'a>,
    isa: Isa,
) -> Result<(WeightPlan, ReadOrder<'a>), ModelError> {
    let config = weights.config();
    weights.kv_scales()?;
    let (plan, order) = (WeightPlan::default(), ReadOrder::default());
    let mut planner = Planner { plan, order, missing: Vec::new(), isa };
    if config.tie_word_embeddings {
        planner.single("embedding and output", weights.embedding(), ReadShare::All)?;
    } else {
        planner.single("embedding", weights.embedding(), ReadShare::Rows)?;
        planner.group("output", weights.output().map(Vec::from_iter), ReadShare::All)?;
    }
    for layer in 0..config.layers {
        planner.norm(weights.norm(Slot::AttentionNorm, layer))?;
        planner.norm(weights.norm(Slot::FeedForwardNorm, layer))?;
        if config.qk_norm {
            planner.norm(weights.norm(Slot::QueryNorm, layer))?;
            planner.norm(weights.norm(Slot::KeyNorm, layer))?;
        }
        planner.group("attention q,k,v", weights.qkv(layer), ReadShare::All)?;
        planner.single("attention output", weights.attention_output(layer), ReadShare::All)?;
        match &config.moe {
            Some(moe) if moe.is_sparse(layer) => {
                planner.single("router", weights.router(layer, moe), ReadShare::All)?;
                let share = ReadShare::Experts(moe.top_k);
                planner.single("experts gate,up", weights.expert_gate_up(layer, moe), share)?;
                planner.single("experts down", weights.expert_down(layer, moe), share)?;
            }
            _ => {
                planner.group("feed-forward gate,up", weights.gate_up(layer), ReadShare::All)?;
                planner.single("feed-forward down", weights.down(layer), ReadShare::All)?;
            }
        }
    }
    planner.norm(weights.norm(Slot::OutputNorm, 0))?;
    planner.finish(weights.source.name())
}

/// A plan in the making, and what was missing on the way.
struct Planner<'a> {
    plan: WeightPlan,
    order: ReadOrder<'a>,
    missing: Vec<String>,
    isa: Isa,
}

impl<'a> Planner<'a> {
    /// Remembers a missing tensor, so that all of them can be named together.
    fn present<T>(&mut self, found: Result<T, ModelError>) -> Result<Option<T>, ModelError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(ModelError::Checkpoint(QuantError::Missing { tensor, .. })) => {
                self.missing.push(tensor);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn group(
        &mut self,
        kind: &'static str,
        parts: Result<Vec<Matrix<'a>>, ModelError>,
        share: ReadShare,
    ) -> Result<(), ModelError> {
        for part in Linear::fuse(self.present(parts)?.unwrap_or_default())? {
            self.plan.add(kind, self.isa, &part, share);
            self.order.push(&part);
        }
        Ok(())
    }

    fn single(
        &mut self,
        kind: &'static str,
        matrix: Result<Matrix<'a>, ModelError>,
        share: ReadShare,
    ) -> Result<(), ModelError> {
        self.group(kind, matrix.map(|matrix| vec![matrix]), share)
    }

    /// Norms are too small for a row of their own.
    fn norm(&mut self, weight: Result<Vec<f32>, ModelError>) -> Result<(), ModelError> {
        self.present(weight).map(drop)
    }

    fn finish(self, file: &str) -> Result<(WeightPlan, ReadOrder<'a>), ModelError> {
        const NAMED: usize = 5;
        if self.missing.is_empty() {
            return Ok((self.plan, self.order));
        }
        let mut tensors = self.missing[..self.missing.len().min(NAMED)].join(", ");
        if self.missing.len() > NAMED {
            tensors = format!("{tensors} and {} more", self.missing.len() - NAMED);
        }
        Err(ModelError::MissingTensors { file: file.to_owned(), tensors })
    }
}
