//! What decoding reads, and the time that a memory needs for that: no step can be shorter.

use std::fmt;

use serde_json::{Value, json};

use super::Inspection;
use crate::cli::Bandwidth;

const BATCHES: [usize; 2] = [1, 8];
/// Tokens of each sequence that are behind it; 0 is the weights alone.
const CONTEXTS: [usize; 3] = [0, 2048, 32_768];

/// One decode step.
pub(super) struct Read<'a> {
    /// Sequences, which get a token each.
    batch: usize,
    context: usize,
    /// Experts of a sparse layer that are read, on average.
    distinct_experts: Option<f64>,
    /// Bytes in memory of weights, keys and values that are read.
    bytes: u64,
    /// The same with the weights as they are in the files.
    file_bytes: u64,
    bandwidths: &'a [Bandwidth],
}

impl Inspection<'_> {
    pub(super) fn reads(&self) -> Vec<Read<'_>> {
        let longest =
            self.plan.map_or(self.info.config.max_position_embeddings, |plan| plan.max_model_len);
        let contexts = CONTEXTS.into_iter().filter(|&context| context <= longest);
        contexts
            .flat_map(|context| BATCHES.map(|batch| (context, batch)))
            .map(|(context, batch)| {
                let weights = &self.info.weights;
                let tokens = (batch * context) as u64;
                let kv = tokens * self.info.kv_bytes_per_token(self.kv_dtype);
                let distinct = weights.rows.iter().find_map(|row| row.distinct_experts(batch));
                Read {
                    batch,
                    context,
                    distinct_experts: distinct,
                    bytes: weights.bytes_per_step(batch) + kv,
                    file_bytes: weights.file_bytes_per_step(batch) + kv,
                    bandwidths: self.bandwidths,
                }
            })
            .collect()
    }

    pub(super) fn write_reads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kv = self.info.kv_bytes_per_token(self.kv_dtype);
        writeln!(
            f,
            "read by a decode step, in GB (10^9 bytes); keys and values are {kv} bytes per token"
        )?;
        write!(
            f,
            "{:>5} {:>8} {:>8} {:>10} {:>10} {:>10}",
            "batch", "context", "experts", "step", "as stored", "per token"
        )?;
        for Bandwidth { gbps, kind } in self.bandwidths {
            write!(f, "  {:>28}", format!("ms at {gbps} GB/s {kind}").trim_end())?;
        }
        for read in self.reads() {
            write!(f, "\n{read}")?;
        }
        Ok(())
    }
}

impl Read<'_> {
    fn bytes_per_token(&self) -> f64 {
        self.bytes as f64 / self.batch as f64
    }

    pub(super) fn to_json(&self) -> Value {
        let floors = self.bandwidths.iter().map(|bandwidth| {
            json!({
                "gbps": bandwidth.gbps,
                "kind": bandwidth.kind,
                "ms_per_step": milliseconds(self.bytes as f64, bandwidth),
                "ms_per_token": milliseconds(self.bytes_per_token(), bandwidth),
                "ms_per_step_as_stored": milliseconds(self.file_bytes as f64, bandwidth),
            })
        });
        json!({
            "batch": self.batch,
            "context": self.context,
            "distinct_experts": self.distinct_experts,
            "bytes_per_step": self.bytes,
            "bytes_per_token": self.bytes_per_token(),
            "bytes_per_step_as_stored": self.file_bytes,
            "floors": floors.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: f64| format!("{:.3}", bytes / 1e9);
        let experts = self.distinct_experts.map_or("-".to_owned(), |count| format!("{count:.1}"));
        write!(
            f,
            "{:>5} {:>8} {:>8} {:>10} {:>10} {:>10}",
            self.batch,
            self.context,
            experts,
            gigabytes(self.bytes as f64),
            gigabytes(self.file_bytes as f64),
            gigabytes(self.bytes_per_token())
        )?;
        for bandwidth in self.bandwidths {
            let step = milliseconds(self.bytes as f64, bandwidth);
            let token = milliseconds(self.bytes_per_token(), bandwidth);
            write!(f, "  {:>28}", format!("{step:.1} ({token:.1} per token)"))?;
        }
        Ok(())
    }
}

fn milliseconds(bytes: f64, bandwidth: &Bandwidth) -> f64 {
    bytes / bandwidth.gbps / 1e6
}
