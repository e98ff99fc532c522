//! What a step of a model must read and compute.

use serde::{Deserialize, Serialize};

/// Sizes of a model that bound how fast it can decode and read prompts. They come from the counts of
/// `eitri inspect`; bytes are those of matrices, norms being a few thousandths of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModelBytes {
    /// Bytes of weights that every step reads, whatever its batch: attention, dense feed-forward,
    /// routers and output.
    pub always: u64,
    /// Bytes of the experts; none for a dense model.
    pub experts: Option<ExpertBytes>,
    /// Bytes of keys and values per token of context, over all layers.
    pub kv_per_token: u64,
    /// Multiply-adds of the matrices for one token of a prompt, without the output matrix, which
    /// only the last token of a prompt needs.
    pub multiply_adds_per_token: u64,
    /// Layers times query heads times size of a head: what a pair of tokens costs in attention is
    /// twice as many multiply-adds.
    pub attention_width: u64,
}

/// The experts of a sparse model, all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpertBytes {
    /// Bytes of all experts.
    pub total: u64,
    /// Experts per layer.
    pub count: usize,
    /// Experts that a token goes through per layer.
    pub per_token: usize,
}

/// How the tokens of a batch choose their experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// All choose the same ones: the least that a step can read.
    Same,
    /// Independently and evenly: what random tokens would do on average. Real tokens resemble each
    /// other and read less.
    Even,
}

impl ExpertBytes {
    /// Experts of a layer that a step of `batch` tokens reads.
    pub fn distinct(&self, batch: usize, routing: Routing) -> f64 {
        let (count, per_token) = (self.count as f64, self.per_token as f64);
        match routing {
            _ if batch == 0 => 0.0,
            Routing::Same => per_token,
            Routing::Even => count * (1.0 - (1.0 - per_token / count).powf(batch as f64)),
        }
    }
}

impl ModelBytes {
    /// Bytes of weights that a step of `batch` tokens reads.
    pub fn weights(&self, batch: usize, routing: Routing) -> f64 {
        let experts = self.experts.map_or(0.0, |experts| {
            experts.total as f64 * experts.distinct(batch, routing) / experts.count as f64
        });
        self.always as f64 + experts
    }

    /// Bytes that a decode step of `batch` sequences reads, each with `context` tokens behind it.
    pub fn step(&self, batch: usize, context: f64, routing: Routing) -> f64 {
        self.weights(batch, routing) + batch as f64 * context * self.kv_per_token as f64
    }

    /// Floating-point operations of the matrices for a prompt of `tokens`.
    pub fn matrix_operations(&self, tokens: f64) -> f64 {
        2.0 * self.multiply_adds_per_token as f64 * tokens
    }

    /// Floating-point operations of causal attention over a prompt of `tokens`: each looks at half
    /// of them on average, once for scores and once for values.
    pub fn attention_operations(&self, tokens: f64) -> f64 {
        2.0 * self.attention_width as f64 * tokens * tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_of_a_batch_lie_between_those_of_a_token_and_all() {
        let experts = ExpertBytes { total: 128, count: 128, per_token: 8 };
        assert!((experts.distinct(1, Routing::Even) - 8.0).abs() < 1e-9);
        // Worked out by hand: 128 (1 - 0.9375^8).
        assert!((experts.distinct(8, Routing::Even) - 51.62).abs() < 0.01);
        assert!((experts.distinct(100_000, Routing::Even) - 128.0).abs() < 1e-9);
        assert!((experts.distinct(8, Routing::Same) - 8.0).abs() < 1e-9);
        assert!(experts.distinct(0, Routing::Even).abs() < 1e-9);
    }
}
