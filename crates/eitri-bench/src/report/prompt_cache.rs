//! Whether prompts were computed or found in the server's prefix cache.
//!
//! A time to first token means nothing without this: the published low-load runs repeat the prompts
//! of the high-load runs before them.

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Times};
use crate::outcome::{BenchOutcome, RequestRecord};

/// At least this share of the prompt tokens was cached in a warm run, at most the rest in a cold one.
const WARM_SHARE: f64 = 0.9;
/// A time to first token under this share of the row's own time to compute a prompt was no
/// computation.
const OWN_PREFILL_SHARE: f64 = 0.7;

/// What the cache held of the prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheState {
    /// Nearly nothing.
    Cold,
    /// Nearly everything.
    Warm,
    /// Some.
    Mixed,
    /// Nothing tells.
    Unknown,
}

impl CacheState {
    /// In tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Mixed => "mixed",
            Self::Unknown => "unknown",
        }
    }
}

/// How that is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// By the usage records of the answers.
    Usage {
        /// Tokens of prompts from the cache.
        cached: usize,
        /// Tokens of prompts.
        total: usize,
    },
    /// By the server's counters before and after the run.
    Counters {
        /// Tokens found in the cache.
        hits: f64,
        /// Tokens looked up.
        queries: f64,
    },
    /// Computing the prompt would take longer even at the device's nominal rates.
    FasterThanComputing {
        /// That time in milliseconds.
        floor_ms: f64,
    },
    /// Computing a prompt took the same server longer at high load.
    FasterThanOwnPrefill {
        /// That time in milliseconds.
        prefill_ms: f64,
    },
    /// It was computed that way: figures of a model of the device.
    Assumed,
}

/// State of the prefix cache in a run, with times to first token apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptCache {
    /// What it held.
    pub state: CacheState,
    /// How that is known.
    pub evidence: Option<Evidence>,
    /// Times of requests whose prompts were computed for the most part.
    pub cold: Option<FirstTokens>,
    /// Times of requests whose prompts were cached for the most part.
    pub warm: Option<FirstTokens>,
}

/// Times to first token of some requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FirstTokens {
    /// How many.
    pub requests: usize,
    /// Milliseconds.
    pub ttft: Times,
}

impl PromptCache {
    /// Of a measured run: by usage records where all answers have them, else by counters.
    pub fn of(outcome: &BenchOutcome) -> Self {
        let completed: Vec<_> = outcome.requests.iter().filter(|r| r.success()).collect();
        let known: Option<Vec<_>> =
            completed.iter().map(|request| Some((*request, cached_share(request)?))).collect();
        let Some(known) = known.filter(|known| !known.is_empty()) else {
            return Self::by_counters(outcome);
        };
        let group = |warm: bool| {
            let ttfts: Vec<f64> = known
                .iter()
                .filter(|(_, share)| (*share >= 0.5) == warm)
                .map(|(request, _)| request.ttft * 1e3)
                .collect();
            let requests = ttfts.len();
            (requests > 0).then(|| FirstTokens { requests, ttft: Times::of(ttfts) })
        };
        let total = completed.iter().map(|request| prompt_tokens(request)).sum();
        let cached = completed.iter().filter_map(|request| request.cached_prompt_tokens).sum();
        Self {
            state: state(cached as f64, total as f64),
            evidence: Some(Evidence::Usage { cached, total }),
            cold: group(false),
            warm: group(true),
        }
    }

    fn by_counters(outcome: &BenchOutcome) -> Self {
        let server = &outcome.server;
        match (server.prefix_cache_hits, server.prefix_cache_queries) {
            (Some(hits), Some(queries)) if queries > 0.0 => Self::whole(
                state(hits, queries),
                Evidence::Counters { hits, queries },
                &Figures::of(outcome),
            ),
            _ => Self::unknown(),
        }
    }

    /// Infers the state from published figures. `computing_ms` is the least time to compute a prompt
    /// at nominal rates, `high` the same server's figures at high load.
    pub fn inferred(figures: &Figures, computing_ms: Option<f64>, high: Option<&Figures>) -> Self {
        let ttft = figures.ttft.mean;
        if let Some(floor_ms) = computing_ms.filter(|&floor| ttft < floor) {
            return Self::whole(
                CacheState::Warm,
                Evidence::FasterThanComputing { floor_ms },
                figures,
            );
        }
        let own = high.and_then(own_prefill_ms);
        match own.filter(|own| ttft < OWN_PREFILL_SHARE * own) {
            Some(prefill_ms) => Self::whole(
                CacheState::Warm,
                Evidence::FasterThanOwnPrefill { prefill_ms },
                figures,
            ),
            None => Self::unknown(),
        }
    }

    /// A state that holds for every request.
    pub fn whole(state: CacheState, evidence: Evidence, figures: &Figures) -> Self {
        let all = Some(FirstTokens { requests: figures.completed, ttft: figures.ttft });
        let (cold, warm) = match state {
            CacheState::Cold => (all, None),
            CacheState::Warm => (None, all),
            CacheState::Mixed | CacheState::Unknown => (None, None),
        };
        Self { state, evidence: Some(evidence), cold, warm }
    }

    fn unknown() -> Self {
        Self { state: CacheState::Unknown, evidence: None, cold: None, warm: None }
    }
}

/// Milliseconds that a server took per prompt at high load: what is left of the run when every step
/// took the median gap.
pub fn own_prefill_ms(high: &Figures) -> Option<f64> {
    let clients = high.max_concurrency.filter(|&clients| clients > 1)?;
    let decoding = high.total_output_tokens as f64 / clients as f64 * high.itl.median;
    let rest = high.duration * 1e3 - decoding;
    (rest > 0.0 && high.completed > 0).then(|| rest / high.completed as f64)
}

fn prompt_tokens(request: &RequestRecord) -> usize {
    request.server_prompt_tokens.unwrap_or(request.prompt_tokens)
}

fn cached_share(request: &RequestRecord) -> Option<f64> {
    Some(request.cached_prompt_tokens? as f64 / prompt_tokens(request).max(1) as f64)
}

fn state(cached: f64, total: f64) -> CacheState {
    let share = cached / total.max(1.0);
    if share >= WARM_SHARE {
        CacheState::Warm
    } else if share <= 1.0 - WARM_SHARE {
        CacheState::Cold
    } else {
        CacheState::Mixed
    }
}
