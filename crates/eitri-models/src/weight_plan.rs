//! What the weights will take, computed from headers alone.

use eitri_kernels::{Isa, Weight, WeightFormat};
use eitri_quant::{Linear, Matrix};

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
    /// Bytes of them that decoding one token of one sequence reads.
    pub bytes_per_token: u64,
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

    /// Bytes of weights that decoding one token of one sequence reads.
    pub fn bytes_per_token(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes_per_token).sum()
    }

    fn add(&mut self, kind: &'static str, isa: Isa, matrix: &Matrix<'_>, share: Share) {
        let (format, n, k) = (matrix.format(), matrix.n(), matrix.k());
        let experts = matrix.experts();
        let memory = Weight::packed_bytes(isa, format, n, k, experts) as u64;
        let file = matrix.file_bytes() as u64;
        let per_token = match share {
            Share::All => memory,
            Share::None => 0,
            Share::Experts(top_k) => memory * top_k as u64 / experts as u64,
        };
        let same = |row: &&mut WeightPlanRow| {
            (row.kind, row.stored, row.format) == (kind, matrix.stored(), format)
                && (row.n, row.k, row.experts) == (n, k, experts)
        };
        if let Some(row) = self.rows.iter_mut().find(same) {
            row.count += 1;
            row.file_bytes += file;
            row.memory_bytes += memory;
            row.bytes_per_token += per_token;
            return;
        }
        self.rows.push(WeightPlanRow {
            kind,
            stored: matrix.stored(),
            format,
            n,
            k,
            experts,
            count: 1,
            file_bytes: file,
            memory_bytes: memory,
            bytes_per_token: per_token,
        });
    }
}

/// How much of a weight one token reads.
#[derive(Clone, Copy)]
enum Share {
    All,
    /// One row of the embedding table is next to nothing.
    None,
    Experts(usize),
}

/// Visits every matrix as loading would, and reads none.
pub(crate) fn plan(weights: &Weights<'_>, isa: Isa) -> Result<WeightPlan, ModelError> {
    let config = weights.config();
    let mut plan = WeightPlan::default();
    match weights.output()? {
        Some(output) => {
            plan.add("embedding", isa, &weights.embedding()?, Share::None);
            plan.add("output", isa, &output, Share::All);
        }
        None => plan.add("embedding and output", isa, &weights.embedding()?, Share::All),
    }
    for layer in 0..config.layers {
        for part in Linear::fuse(weights.qkv(layer)?)? {
            plan.add("attention q,k,v", isa, &part, Share::All);
        }
        plan.add("attention output", isa, &weights.attention_output(layer)?, Share::All);
        match &config.moe {
            Some(moe) if moe.is_sparse(layer) => {
                plan.add("router", isa, &weights.router(layer, moe)?, Share::All);
                let share = Share::Experts(moe.top_k);
                let (gate_up, down) =
                    (weights.expert_gate_up(layer, moe)?, weights.expert_down(layer, moe)?);
                plan.add("experts gate,up", isa, &gate_up, share);
                plan.add("experts down", isa, &down, share);
            }
            _ => {
                for part in Linear::fuse(weights.gate_up(layer)?)? {
                    plan.add("feed-forward gate,up", isa, &part, Share::All);
                }
                plan.add("feed-forward down", isa, &weights.down(layer)?, Share::All);
            }
        }
        check_norms(weights, layer)?;
    }
    weights.norm(Slot::OutputNorm, 0)?;
    Ok(plan)
}

/// Norms are too small for a row of their own, but a missing one is found here too.
fn check_norms(weights: &Weights<'_>, layer: usize) -> Result<(), ModelError> {
    weights.norm(Slot::AttentionNorm, layer)?;
    weights.norm(Slot::FeedForwardNorm, layer)?;
    if weights.config().qk_norm {
        weights.norm(Slot::QueryNorm, layer)?;
        weights.norm(Slot::KeyNorm, layer)?;
    }
    Ok(())
}
