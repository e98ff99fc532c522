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
mod columns;
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
pub use figures::{Figures, Times};
pub use files::ReportError;
pub use floor::{Floor, Shape, Verdict, step_ms};
pub use jitter::{Bar, Jitter};
pub use machine::{Energy, EnergyMeter, Machine};
pub use modelled::ModelledRun;
pub use outputs::OutputCheck;
pub use prompt_cache::{CacheState, Evidence, FirstTokens, PromptCache, own_prefill_ms};
pub use published::{Load, PublishedRow, PublishedTables};
pub use statement::statement;

/// Our results beside those of somebody else.
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
    /// In headings, whatever is ours.
    pub ours: String,
    /// What stands beside our figures; none where they stand alone.
    pub reference: Option<Reference>,
    /// What a reader must know of all our figures, a sentence each.
    pub remarks: Vec<String>,
    /// One per checkpoint and load.
    pub rows: Vec<Row>,
}

/// What our figures are held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// In headings: `published`, or the name of another server.
    pub name: String,
    /// Where its figures come from.
    pub source: String,
    /// The device that they are judged by.
    pub device: Device,
}

/// The two sides of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Reference,
    Ours,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Reference, Self::Ours];

    /// Name of its block in the JSON of a row.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Ours => "ours",
        }
    }
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
    /// Of the reference.
    pub reference: Option<Block>,
    /// Measured or modelled by us.
    pub ours: Option<Block>,
    /// Ours by the reference's.
    pub ratios: Option<Ratios>,
}

/// Our figure divided by the reference's. Throughput is better above 1, times below.
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
    pub fn of(ours: &Block, reference: &Block) -> Self {
        let states = (ours.prompt_cache.state, reference.prompt_cache.state);
        let (a, b) = (&ours.figures, &reference.figures);
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
        reference: Option<Block>,
        ours: Option<Block>,
    ) -> Self {
        let ratios = reference.as_ref().zip(ours.as_ref()).map(|(r, o)| Ratios::of(o, r));
        Self { model: model.into(), load, remark: None, reference, ours, ratios }
    }

    pub(crate) fn side(&self, side: Side) -> Option<&Block> {
        match side {
            Side::Reference => self.reference.as_ref(),
            Side::Ours => self.ours.as_ref(),
        }
    }

    /// The block whose floors hold for the row: a reference is judged by them.
    pub(crate) fn judged(&self) -> Side {
        if self.reference.as_ref().is_some_and(|block| block.floor.is_some()) {
            Side::Reference
        } else {
            Side::Ours
        }
    }
}

impl Report {
    /// Rows of one load, with their place in the report.
    pub fn rows_of(&self, load: Load) -> impl Iterator<Item = (usize, &Row)> {
        self.rows.iter().enumerate().filter(move |(_, row)| row.load == load)
    }

    /// A side in headings.
    pub(crate) fn name(&self, side: Side) -> &str {
        match (side, &self.reference) {
            (Side::Reference, Some(reference)) => &reference.name,
            (Side::Reference, None) => "",
            (Side::Ours, _) => &self.ours,
        }
    }

    /// The sides that there are.
    pub(crate) fn sides(&self) -> impl Iterator<Item = Side> {
        let both = self.reference.is_some();
        Side::BOTH.into_iter().filter(move |&side| both || side == Side::Ours)
    }

    /// Every warning, gravest first, with the row and whose figures it is about. Answers that look
    /// broken on both sides are not warned of.
    pub fn warnings(&self) -> Vec<(&Row, &str, Warning)> {
        let mut warnings = Vec::new();
        for row in &self.rows {
            let alarm = |block: &Block| block.outputs.as_ref().is_some_and(OutputCheck::is_alarm);
            let both_alarm = Side::BOTH.iter().all(|&side| row.side(side).is_some_and(alarm));
            for side in self.sides() {
                let mut of_block = row.side(side).map(Block::warnings).unwrap_or_default();
                // What two servers do alike is the model's doing.
                of_block.retain(|warning| !both_alarm || warning.kind != WarningKind::Answers);
                let name = self.name(side);
                warnings.extend(of_block.into_iter().map(|warning| (row, name, warning)));
            }
        }
        warnings.sort_by_key(|(_, _, warning)| warning.kind);
        warnings
    }
}
