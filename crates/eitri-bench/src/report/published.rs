//! Published tables, as data.

use serde::{Deserialize, Serialize};

use super::{device::Arithmetic, figures::Figures};

/// The two settings of the published runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Eight clients.
    High,
    /// One client, after the high load and on the same server: its prompts are in the cache.
    Low,
    /// One client with prompts that the server has not seen. Nobody published this.
    LowCold,
}

impl Load {
    /// All, in the order in which they are run.
    pub const ALL: [Self; 3] = [Self::High, Self::Low, Self::LowCold];

    /// In file names and keys.
    pub fn key(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Low => "low",
            Self::LowCold => "low-cold",
        }
    }

    /// In headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::High => "high load",
            Self::Low => "low load",
            Self::LowCold => "low load, cold",
        }
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.title())
    }
}

/// Result blocks that someone published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedTables {
    /// The machine that they were measured on.
    pub machine: String,
    /// Where they were published.
    pub source: String,
    /// Tokens of each prompt.
    pub input_len: usize,
    /// Tokens generated for each.
    pub output_len: usize,
    /// Seed of the prompts.
    pub seed: u64,
    /// One row per checkpoint, in their order.
    pub rows: Vec<PublishedRow>,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedRow {
    /// Name without owner.
    pub model: String,
    /// Type in which its matrix products are computed with many rows.
    pub arithmetic: Arithmetic,
    /// At high load.
    pub high: Figures,
    /// At low load.
    pub low: Figures,
}

impl PublishedRow {
    /// The figures at one load.
    pub fn figures(&self, load: Load) -> Option<&Figures> {
        match load {
            Load::High => Some(&self.high),
            Load::Low => Some(&self.low),
            Load::LowCold => None,
        }
    }

    /// Requests of a load; the cold one has as many as the low one.
    pub fn num_prompts(&self, load: Load) -> usize {
        self.figures(load).unwrap_or(&self.low).completed
    }

    /// Clients of a load; none for no limit.
    pub fn max_concurrency(&self, load: Load) -> Option<usize> {
        self.figures(load).unwrap_or(&self.low).max_concurrency
    }
}

impl PublishedTables {
    /// Sixteen Qwen3 checkpoints on Jetson Thor under vLLM; `data/README.md` has the details.
    ///
    /// # Errors
    /// Only if the data in the program is damaged.
    pub fn jetson_thor() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("../../data/jetson-thor-2025-10.json"))
    }
}
