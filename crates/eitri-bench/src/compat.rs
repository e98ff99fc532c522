//! Which release of vLLM's client is reproduced.

use serde::{Deserialize, Serialize};

/// A release of `vllm bench serve` whose prompts, request bodies, metrics and output are
/// reproduced. The three differ in their random prompts, in what is sent by default and in the
/// lines of the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Compat {
    /// 0.10.0 to 0.10.1.1: the client of the published Jetson Thor tables.
    #[default]
    #[serde(rename = "vllm-0.10")]
    V0_10,
    /// 0.11.0: other random prompts, peaks per second.
    #[serde(rename = "vllm-0.11")]
    V0_11,
    /// 0.32.0: prompts of exact length, end tokens ignored, counts of failures.
    #[serde(rename = "vllm-0.32")]
    V0_32,
}

impl Compat {
    /// All releases, oldest first.
    pub const ALL: [Self; 3] = [Self::V0_10, Self::V0_11, Self::V0_32];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::V0_10 => "vllm-0.10",
            Self::V0_11 => "vllm-0.11",
            Self::V0_32 => "vllm-0.32",
        }
    }
}

impl std::fmt::Display for Compat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
