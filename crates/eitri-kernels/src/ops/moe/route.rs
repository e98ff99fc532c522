//! Which experts each token goes to, and with what weight.

#![allow(unsafe_code, reason = "threads write disjoint rows")]

use candle_core::Tensor;

use crate::{Context, KernelError, disjoint::Disjoint, ops::linear::within, read};

/// Rows that one thread routes at a time.
const GRAIN: usize = 16;

/// The experts of each token and the tokens of each expert; allocated once for the largest step.
#[derive(Debug, Clone)]
pub struct Routing {
    max_rows: usize,
    top_k: usize,
    rows: usize,
    ids: Vec<u32>,
    weights: Vec<f32>,
    /// Where each expert's part of `tokens` and `pairs` begins; `experts + 1` entries.
    starts: Vec<usize>,
    /// Token of each (token, slot) pair, sorted by expert, then token.
    tokens: Vec<u32>,
    /// `token * top_k + slot` of the same pairs.
    pairs: Vec<u32>,
    /// Experts with at least one token, ascending.
    chosen: Vec<u32>,
}

impl Routing {
    /// Room for `max_rows` tokens with `top_k` of `experts` experts each.
    ///
    /// # Errors
    /// When `top_k` is zero or above `experts`.
    pub fn new(max_rows: usize, top_k: usize, experts: usize) -> Result<Self, KernelError> {
        if top_k == 0 || top_k > experts {
            return Err(KernelError::Shape {
                op: "moe_route",
                what: "top_k",
                expected: format!("1 to {experts}"),
                got: top_k.to_string(),
            });
        }
        let pairs = max_rows * top_k;
        Ok(Self {
            max_rows,
            top_k,
            rows: 0,
            ids: vec![0; pairs],
            weights: vec![0.0; pairs],
            starts: vec![0; experts + 1],
            tokens: vec![0; pairs],
            pairs: vec![0; pairs],
            chosen: Vec::with_capacity(experts),
        })
    }

    /// Experts per token.
    pub fn top_k(&self) -> usize {
        self.top_k
    }

    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.starts.len() - 1
    }

    /// Tokens of the last [`moe_route`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Chosen experts `[rows, top_k]`, best first.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.rows * self.top_k]
    }

    /// Their weights `[rows, top_k]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights[..self.rows * self.top_k]
    }

    /// Experts with at least one token, ascending.
    pub fn chosen(&self) -> &[u32] {
        &self.chosen
    }

    /// Tokens of an expert and the `token * top_k + slot` of each.
    pub(super) fn of_expert(&self, expert: usize) -> (&[u32], &[u32]) {
        let range = self.starts[expert]..self.starts[expert + 1];
        (&self.tokens[range.clone()], &self.pairs[range])
    }

    /// Groups the pairs by expert: a counting sort, stable in the token.
    fn group(&mut self) {
        self.starts.fill(0);
        let ids = &self.ids[..self.rows * self.top_k];
        for &id in ids {
            self.starts[id as usize] += 1;
        }
        self.chosen.clear();
        self.chosen.extend((0..).zip(&self.starts).filter(|&(_, &n)| n > 0).map(|(e, _)| e));
        let mut end = 0;
        for start in &mut self.starts {
            end += *start;
            *start = end;
        }
        // Filling from the back moves each start from the end of its part to the beginning.
        for (pair, &id) in ids.iter().enumerate().rev() {
            let start = &mut self.starts[id as usize];
            *start -= 1;
            self.tokens[*start] = (pair / self.top_k) as u32;
            self.pairs[*start] = pair as u32;
        }
    }
}

/// Routes the first `rows` rows of `logits` (`[max, experts]` f32): softmax over all experts, the
/// `top_k` largest (of equals the lowest id), divided by their sum if `renormalise`.
///
/// # Errors
/// When a shape or type does not fit.
pub fn moe_route(
    ctx: &Context,
    logits: &Tensor,
    rows: usize,
    renormalise: bool,
    routing: &mut Routing,
) -> Result<(), KernelError> {
    let (experts, top_k) = (routing.experts(), routing.top_k);
    match *logits.dims() {
        [max, width] if width == experts => within("moe_route", "rows", rows, max)?,
        _ => {
            return Err(KernelError::Shape {
                op: "moe_route",
                what: "logits",
                expected: format!("[rows, {experts}]"),
                got: format!("{:?}", logits.dims()),
            });
        }
    }
    within("moe_route", "rows", rows, routing.max_rows)?;
    routing.rows = rows;
    read::<f32, _>(logits, |logits| {
        let ids = Disjoint::new(&mut routing.ids);
        let weights = Disjoint::new(&mut routing.weights);
        ctx.pool().for_ranges(rows, GRAIN, |range| {
            for row in range {
                let pairs = row * top_k..(row + 1) * top_k;
                // SAFETY: each row belongs to one range.
                let (ids, weights) = unsafe { (ids.part(pairs.clone()), weights.part(pairs)) };
                route_row(&logits[row * experts..(row + 1) * experts], renormalise, ids, weights);
            }
        })
    })??;
    routing.group();
    Ok(())
}

fn route_row(logits: &[f32], renormalise: bool, ids: &mut [u32], weights: &mut [f32]) {
    for (slot, weight) in weights.iter_mut().enumerate() {
        let (done, rest) = ids.split_at_mut(slot);
        let mut best: Option<(u32, f32)> = None;
        for (id, &logit) in (0..).zip(logits) {
            if best.is_none_or(|(_, top)| logit > top) && !done.contains(&id) {
                best = Some((id, logit));
            }
        }
        if let Some(best) = best {
            (rest[0], *weight) = best;
        }
    }
    let max = weights[0];
    let all: f32 = logits.iter().map(|l| (l - max).exp()).sum();
    for weight in &mut *weights {
        *weight = (*weight - max).exp() / all;
    }
    if renormalise {
        let sum: f32 = weights.iter().sum();
        for weight in weights {
            *weight /= sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_go_to_the_lowest_ids_and_weights_sum_to_one() {
        let (mut ids, mut weights) = ([9; 2], [0.0; 2]);
        route_row(&[1.0, 3.0, 3.0, 3.0], true, &mut ids, &mut weights);
        assert_eq!(ids, [1, 2]);
        assert!(weights.iter().all(|w| (w - 0.5).abs() < 1e-6));
    }

    #[test]
    fn without_renormalisation_weights_are_shares_of_all_experts() {
        let (mut ids, mut weights) = ([9; 1], [0.0; 1]);
        route_row(&[0.0, 0.0, 0.0, 0.0], false, &mut ids, &mut weights);
        assert_eq!(ids, [0]);
        assert!((weights[0] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn logits_that_are_not_numbers_still_choose_distinct_experts() {
        let (mut ids, mut weights) = ([9; 3], [0.0; 3]);
        route_row(&[f32::NAN; 3], true, &mut ids, &mut weights);
        assert_eq!(ids, [0, 1, 2]);
        assert!(weights.iter().all(|w| w.is_nan()));
    }
}
