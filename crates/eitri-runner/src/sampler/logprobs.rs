//! Log-probabilities of the raw logits, before any parameter changes them.

use eitri_engine::{TokenId, TokenLogprobs};

use super::{
    select::{self, Candidate},
    softmax,
};

/// Log-probability and rank of `token`, and the `top` most likely tokens. The rank counts tokens
/// that are more likely, and equally likely ones of a lower id: the order of the list.
pub(crate) fn logprobs(
    raw: &[f32],
    token: TokenId,
    top: u32,
    candidates: &mut Vec<Candidate>,
) -> TokenLogprobs {
    let log_sum = softmax::log_sum_exp(raw);
    let of = |logit: f32| (f64::from(logit) - log_sum) as f32;
    let logit = raw[token as usize];
    let (before, after) = raw.split_at(token as usize);
    let better = before.iter().filter(|&&x| x >= logit).count()
        + after.iter().filter(|&&x| x > logit).count();
    let top = (top as usize).min(raw.len());
    candidates.clear();
    if top > 0 {
        select::largest(raw, top, candidates);
        candidates.sort_unstable_by(select::by_rank);
        candidates.truncate(top);
    }
    TokenLogprobs {
        logprob: of(logit),
        rank: better as u32 + 1,
        top: candidates.iter().map(|c| (c.id, of(c.value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_ranks_and_lists_equal_a_full_sort_in_f64(
            raw in prop::collection::vec((-300_i32..300).prop_map(|x| x as f32 * 0.05), 1..2000),
            token in 0_usize..2000,
            top in 0_u32..30,
        ) {
            let token = token % raw.len();
            let sum: f64 = raw.iter().map(|&x| f64::from(x).exp()).sum();
            let mut order: Vec<usize> = (0..raw.len()).collect();
            order.sort_by(|&a, &b| raw[b].total_cmp(&raw[a]).then(a.cmp(&b)));
            let got = logprobs(&raw, token as u32, top, &mut Vec::new());
            let close = |value: f32, id: usize| {
                (f64::from(value) - (f64::from(raw[id]) - sum.ln())).abs() < 2e-6
            };
            prop_assert!(close(got.logprob, token));
            prop_assert_eq!(order[got.rank as usize - 1], token);
            prop_assert_eq!(got.top.len(), (top as usize).min(raw.len()));
            for (entry, &id) in got.top.iter().zip(&order) {
                prop_assert_eq!(entry.0, id as u32);
                prop_assert!(close(entry.1, id));
            }
        }
    }
}
