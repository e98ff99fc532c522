//! Reports that keep a reader from being fooled.
//!
//! Every result stands beside the time that its bytes need on the device; what is faster is marked.
//! Times to first token of cached and computed prompts are told apart, answers are searched for signs
//! of damage, and it is said whether a number was measured, published or modelled.
//!
//! A [`Report`] is plain data. [`markdown`], [`csv`] and [`html`] show it, and its JSON is the
//! whole of it: no table or chart has a number that is not in there.

mod block;
mod bytes;
mod charts;
pub mod csv;
mod device;
mod figures;
mod files;
mod floor;
pub mod html;
mod jitter;
mod lines;
mod machine;
pub mod markdown;
mod modelled;
mod outputs;
mod prompt_cache;
mod published;
mod statement;

use serde::{Deserialize, Serialize};

pub use block::{Block, Origin, Warning, WarningKind};
pub use bytes::{ExpertBytes, ModelBytes, Routing};
pub use charts::ChartError;
pub use device::{Arithmetic, Device, Limits, Teraflops};
pub use figures::{Figures, Times, percentile};
pub use files::ReportError;
pub use floor::{Floor, Shape, Verdict, step_ms};
pub use jitter::{Bar, Jitter};
pub use machine::{Energy, EnergyMeter, Machine};
pub use modelled::ModelledRun;
pub use outputs::OutputCheck;
pub use prompt_cache::{CacheState, Evidence, FirstTokens, PromptCache, own_prefill_ms};
pub use published::{Load, PublishedRow, PublishedTables};
pub use statement::statement;

pub(crate) use figures::mean;

/// Our results beside published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its heading.
    pub title: String,
    /// When it was made, as `YYYY-MM-DD`, where that is known.
    pub date: Option<String>,
    /// The machine that measured; none where all is modelled.
    pub machine: Option<Machine>,
    /// The device that our figures are judged by.
    pub device: Device,
    /// The device that published figures are judged by.
    pub published_device: Device,
    /// Where published figures come from.
    pub published_source: String,
    /// What a reader must know of all our figures, a sentence each.
    pub remarks: Vec<String>,
    /// One per checkpoint and load.
    pub rows: Vec<Row>,
}

/// One checkpoint at one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the checkpoint.
    pub model: String,
    /// The load.
    pub load: Load,
    /// Why there is nothing of ours, or what stood in for the checkpoint.
    pub remark: Option<String>,
    /// As published.
    pub published: Option<Block>,
    /// Measured or modelled by us.
    pub ours: Option<Block>,
    /// Ours by published.
    pub ratios: Option<Ratios>,
}

/// Our figure divided by the published one. Throughput is better above 1, times below.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    /// Generated tokens per second.
    pub output_throughput: f64,
    /// Mean time to first token; none where one was cold and the other warm, or it is not known.
    pub ttft: Option<f64>,
    /// Mean time per output token.
    pub tpot: f64,
}

impl Ratios {
    /// Of two blocks.
    pub fn of(ours: &Block, published: &Block) -> Self {
        let states = (ours.prompt_cache.state, published.prompt_cache.state);
        let (a, b) = (&ours.figures, &published.figures);
        let comparable = states.0 == states.1 && states.0 != CacheState::Unknown;
        Self {
            output_throughput: a.output_throughput / b.output_throughput,
            ttft: comparable.then(|| a.ttft.mean / b.ttft.mean),
            tpot: a.tpot.mean / b.tpot.mean,
        }
    }
}

impl Row {
    /// With ratios where both sides are there.
    pub fn new(
        model: impl Into<String>,
        load: Load,
        published: Option<Block>,
        ours: Option<Block>,
    ) -> Self {
        let ratios = published.as_ref().zip(ours.as_ref()).map(|(p, o)| Ratios::of(o, p));
        Self { model: model.into(), load, remark: None, published, ours, ratios }
    }
}

impl Report {
    /// Where our figures come from.
    pub fn our_origin(&self) -> Origin {
        if self.machine.is_some() { Origin::Measured } else { Origin::Modelled }
    }

    /// Rows of one load, with their place in the report.
    pub fn rows_of(&self, load: Load) -> impl Iterator<Item = (usize, &Row)> {
        self.rows.iter().enumerate().filter(move |(_, row)| row.load == load)
    }

    /// Every warning, gravest first, with the row and the origin that it is about.
    pub fn warnings(&self) -> Vec<(&Row, Origin, Warning)> {
        let mut warnings = Vec::new();
        for row in &self.rows {
            for block in [&row.published, &row.ours].into_iter().flatten() {
                let of_block = block.warnings().into_iter();
                warnings.extend(of_block.map(|warning| (row, block.origin, warning)));
            }
        }
        warnings.sort_by_key(|(_, _, warning)| warning.kind);
        warnings
    }
}
