//! One random token from a row of logits.

use eitri_engine::{SamplingParams, TokenId};

use super::{
    philox,
    select::{self, Candidate},
    softmax,
};

/// Lower temperatures are raised to this, as vLLM does: the division must not overflow.
const MIN_TEMPERATURE: f32 = 0.01;

/// Weights per partial sum: the walk to a token looks at one sum per block, then at one block.
const BLOCK: usize = 256;

/// Memory of a draw.
pub(crate) struct DrawScratch {
    pub(crate) candidates: Vec<Candidate>,
    weights: Vec<f32>,
    sums: Vec<f64>,
    buckets: Box<[f64; BUCKETS]>,
}

impl DrawScratch {
    pub(crate) fn new(vocab: usize) -> Self {
        Self {
            candidates: Vec::with_capacity(vocab),
            weights: Vec::with_capacity(vocab),
            sums: Vec::with_capacity(vocab.div_ceil(BLOCK)),
            buckets: Box::new([0.0; BUCKETS]),
        }
    }
}

/// Applies temperature, min-p, top-k and top-p in this order and draws by inverting the cumulative
/// distribution of what is kept, in order of token id. Overwrites `row`.
///
/// The random number depends on the seed and on `generated` alone. `None` when every token is
/// masked.
pub(crate) fn draw(
    row: &mut [f32],
    params: &SamplingParams,
    generated: u64,
    scratch: &mut DrawScratch,
) -> Option<TokenId> {
    let largest = softmax::max(row);
    if largest == f32::NEG_INFINITY {
        return None;
    }
    let scale = 1.0 / params.temperature.max(MIN_TEMPERATURE);
    let u = philox::uniform(params.seed.unwrap_or_default(), generated);
    let k = params.top_k as usize;
    if k == 0 || k >= row.len() {
        softmax::weigh(row, largest, scale, params.min_p);
        if params.top_p < 1.0 {
            let top_p = f64::from(params.top_p);
            keep_nucleus(row, top_p, &mut scratch.buckets, &mut scratch.candidates);
        }
        return pick(row, u, &mut scratch.sums).map(|i| i as TokenId);
    }
    let DrawScratch { candidates, weights, sums, .. } = scratch;
    select::largest(row, k, candidates);
    for candidate in candidates.iter_mut() {
        candidate.value = softmax::exp((candidate.value - largest) * scale);
    }
    candidates.retain(|c| c.value > 0.0 && c.value >= params.min_p);
    if params.top_p < 1.0 {
        let total: f64 = candidates.iter().map(|c| f64::from(c.value)).sum();
        let kept = select::nucleus(candidates, f64::from(params.top_p) * total);
        candidates.truncate(kept);
    }
    candidates.sort_unstable_by_key(|c| c.id);
    weights.clear();
    weights.extend(candidates.iter().map(|c| c.value));
    pick(weights, u, sums).map(|i| candidates[i].id)
}

/// Sets the weights outside the smallest set that holds the share `top_p` to 0.
///
/// Only the bucket in which the share is reached needs a selection; buckets are the exponent and
/// three bits of the mantissa, so it spans an eighth of its values at most.
fn keep_nucleus(
    weights: &mut [f32],
    top_p: f64,
    buckets: &mut [f64; BUCKETS],
    candidates: &mut Vec<Candidate>,
) {
    buckets.fill(0.0);
    for &weight in weights.iter() {
        buckets[bucket(weight)] += f64::from(weight);
    }
    let mut missing = top_p * buckets.iter().sum::<f64>();
    let mut reached = None;
    for (index, &mass) in buckets.iter().enumerate().rev() {
        if mass >= missing {
            reached = Some(index);
            break;
        }
        missing -= mass;
    }
    // Rounding may leave a share of nearly 1 out of reach: then nothing is cut off.
    let Some(reached) = reached else { return };
    candidates.clear();
    for (id, &value) in weights.iter().enumerate() {
        if bucket(value) == reached {
            candidates.push(Candidate { id: id as u32, value });
        }
    }
    let kept = select::nucleus(candidates, missing);
    let Some(&last) = candidates[..kept].iter().max_by(|a, b| select::by_rank(a, b)) else {
        return;
    };
    for (id, weight) in weights.iter_mut().enumerate() {
        let keep = *weight > last.value || (*weight >= last.value && id as u32 <= last.id);
        *weight = if keep { *weight } else { 0.0 };
    }
}

/// Bits of an f32 below those that number its bucket.
const BUCKET_SHIFT: u32 = 20;
/// Buckets of the values in `[0, 1]`.
const BUCKETS: usize = (1.0_f32.to_bits() >> BUCKET_SHIFT) as usize + 1;

/// Rises with `weight`, which is in `[0, 1]`.
fn bucket(weight: f32) -> usize {
    ((weight.to_bits() >> BUCKET_SHIFT) as usize).min(BUCKETS - 1)
}

/// The first index at which the running sum exceeds the share `u` of the total; never one of
/// weight 0. `None` when all weights are 0.
fn pick(weights: &[f32], u: f64, sums: &mut Vec<f64>) -> Option<usize> {
    sums.clear();
    sums.extend(weights.chunks(BLOCK).map(softmax::sum));
    let target = u * sums.iter().sum::<f64>();
    let mut running = 0.0;
    let mut chosen = None;
    for (block, &sum) in sums.iter().enumerate() {
        if sum > 0.0 {
            // The last one with weight stands in when rounding leaves the target out of reach.
            chosen = Some((block, running));
            if running + sum > target {
                break;
            }
        }
        running += sum;
    }
    let (block, mut running) = chosen?;
    let start = block * BLOCK;
    let mut index = None;
    for (i, &weight) in weights[start..weights.len().min(start + BLOCK)].iter().enumerate() {
        if weight > 0.0 {
            index = Some(start + i);
            running += f64::from(weight);
            if running > target {
                break;
            }
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pick_inverts_the_cumulative_sum() {
        let weights: Vec<f32> = (0..1000).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
        let total: f32 = weights.iter().sum();
        let mut sums = Vec::new();
        let mut running = 0.0;
        for (i, &w) in weights.iter().enumerate() {
            if w > 0.0 {
                let middle = f64::from((running + 0.5) / total);
                assert_eq!(pick(&weights, middle, &mut sums), Some(i));
                running += w;
            }
        }
        assert_eq!(pick(&weights, 0.0, &mut sums), Some(1));
        assert_eq!(pick(&weights, 1.0, &mut sums), Some(998));
        assert_eq!(pick(&[0.0; 300], 0.5, &mut sums), None);
    }
}
