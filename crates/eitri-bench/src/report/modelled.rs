//! What a device would show at best, from bytes and operations alone.
//!
//! Nothing is known here of kernels, launches, hosts or schedulers: prompts are computed one at a
//! time while nothing is decoded, at the device's practical rates, and a cached prompt costs the one
//! step that makes its first token. A real run is slower, unless it decodes while it computes prompts.

use super::{
    block::{Block, Origin},
    bytes::ModelBytes,
    device::{Arithmetic, Device},
    figures::{Figures, Times},
    floor::{self, Shape},
    prompt_cache::{CacheState, Evidence, PromptCache},
    published::Load,
};

/// A run to be modelled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelledRun {
    /// Its load decides whether prompts are cached.
    pub load: Load,
    /// Requests.
    pub num_prompts: usize,
    /// Clients; none for as many as requests.
    pub max_concurrency: Option<usize>,
    /// Tokens of all prompts.
    pub total_input_tokens: usize,
    /// Tokens generated for each.
    pub output_len: usize,
    /// Type of the products of matrices with many rows.
    pub arithmetic: Arithmetic,
}

impl ModelledRun {
    /// The block that `device` would show; none where its rates are not known.
    pub fn block(&self, bytes: &ModelBytes, device: &Device) -> Option<Block> {
        let limits = device.practical.as_ref()?;
        let requests = self.num_prompts.max(1);
        let clients = self.max_concurrency.unwrap_or(requests).clamp(1, requests);
        let prompt = self.total_input_tokens as f64 / requests as f64;
        let context = prompt + self.output_len as f64 / 2.0;
        let step_ms = floor::decode_ms(bytes, &Shape { batch: clients, context, prompt }, limits);
        let first_ms = match self.load {
            Load::Low => step_ms,
            Load::High | Load::LowCold => {
                floor::prefill_ms(bytes, prompt, self.arithmetic, limits)?
            }
        };
        let figures = self.figures(requests, clients, step_ms, first_ms);
        let state = if self.load == Load::Low { CacheState::Warm } else { CacheState::Cold };
        let cache = PromptCache::whole(state, Evidence::Assumed, &figures);
        Some(Block::bare(Origin::Modelled, figures, cache).judged(bytes, device))
    }

    fn figures(&self, requests: usize, clients: usize, step_ms: f64, first_ms: f64) -> Figures {
        // All clients start at once and wait for each other; later prompts come one by one.
        let first = (0..requests).map(|index| (index.min(clients - 1) + 1) as f64 * first_ms);
        let ttft = (0..requests)
            .zip(first)
            .map(|(index, wait)| if index < clients { wait } else { first_ms })
            .collect();
        let steps = self.output_len.saturating_sub(1);
        // While an answer is decoded, every other client's next prompt is computed once.
        let waits = (clients - 1).min(steps);
        let mut gaps = vec![step_ms; steps - waits];
        gaps.extend(std::iter::repeat_n(step_ms + first_ms, waits));
        let itl = Times::of(gaps);
        let output = requests * self.output_len;
        let rounds = (requests * steps) as f64 / clients as f64;
        let duration = (requests as f64 * first_ms + rounds * step_ms) / 1e3;
        Figures {
            completed: requests,
            max_concurrency: self.max_concurrency,
            duration,
            total_input_tokens: self.total_input_tokens,
            total_output_tokens: output,
            request_throughput: requests as f64 / duration,
            output_throughput: output as f64 / duration,
            total_token_throughput: (self.total_input_tokens + output) as f64 / duration,
            ttft: Times::of(ttft),
            tpot: Times::constant(itl.mean),
            itl,
            bunched: false,
        }
    }
}
