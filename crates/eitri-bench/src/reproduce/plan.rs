//! What is run, in which order.

use serde::{Deserialize, Serialize};

use crate::report::{Arithmetic, Load, PublishedRow, PublishedTables};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// As published.
    Published,
    /// Short prompts, few requests: a rehearsal on small stand-ins.
    Tiny,
}

/// Everything that is to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How much.
    pub scale: Scale,
    /// One per checkpoint, in the published order.
    pub rows: Vec<RowPlan>,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPlan {
    /// Its name.
    pub model: String,
    /// Type of its products with many rows.
    pub arithmetic: Arithmetic,
    /// What its server has to bear, in this order.
    pub loads: Vec<LoadPlan>,
}

/// One run of the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Which of the three.
    pub load: Load,
    /// Requests.
    pub num_prompts: usize,
    /// Clients; none for no limit.
    pub max_concurrency: Option<usize>,
    /// Tokens per prompt.
    pub input_len: usize,
    /// Tokens generated for each.
    pub output_len: usize,
    /// Of the prompts: the same of high and low load, another one of the cold load.
    pub seed: u64,
    /// Whether the first prompt is tried before, as vLLM 0.10 does. It is then cached in the run, so
    /// a cold load goes without.
    pub ready_check: bool,
}

const TINY_INPUT: usize = 128;
const TINY_OUTPUT: usize = 24;
const TINY_HIGH: usize = 16;
const TINY_LOW: usize = 4;

impl Plan {
    /// The rows whose names contain one of `only`, whatever its case; all of them without any.
    pub fn new(tables: &PublishedTables, scale: Scale, only: &[String]) -> Self {
        let wanted = |row: &&PublishedRow| {
            let name = row.model.to_lowercase();
            only.is_empty() || only.iter().any(|part| name.contains(&part.to_lowercase()))
        };
        let rows = tables
            .rows
            .iter()
            .filter(wanted)
            .map(|row| RowPlan {
                model: row.model.clone(),
                arithmetic: row.arithmetic,
                loads: Load::ALL.map(|load| LoadPlan::new(tables, row, scale, load)).to_vec(),
            })
            .collect();
        Self { scale, rows }
    }
}

impl LoadPlan {
    fn new(tables: &PublishedTables, row: &PublishedRow, scale: Scale, load: Load) -> Self {
        let (num_prompts, input_len, output_len) = match (scale, load) {
            (Scale::Published, _) => (row.num_prompts(load), tables.input_len, tables.output_len),
            (Scale::Tiny, Load::High) => (TINY_HIGH, TINY_INPUT, TINY_OUTPUT),
            (Scale::Tiny, _) => (TINY_LOW, TINY_INPUT, TINY_OUTPUT),
        };
        let cold = load == Load::LowCold;
        Self {
            load,
            num_prompts,
            max_concurrency: row.max_concurrency(load),
            input_len,
            output_len,
            seed: tables.seed + u64::from(cold),
            ready_check: !cold,
        }
    }
}
