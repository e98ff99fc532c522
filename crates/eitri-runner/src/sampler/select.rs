//! Choosing the largest values of a row without sorting it.

use std::cmp::Ordering;

use super::softmax;

/// A token with its logit or weight. Never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    pub(crate) value: f32,
}

/// Largest value first; the lower id first among equals.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that sorting takes")]
pub(crate) fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.value.partial_cmp(&a.value).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// Collects the `k` largest values of `row` and all that equal the `k`-th, in no particular order.
/// Masked values (negative infinity) are left out. `k` is at least 1.
///
/// One pass: after `2k` or so finds, the `k`-th of them is a floor that few later values reach.
pub(crate) fn largest(row: &[f32], k: usize, out: &mut Vec<Candidate>) {
    const BLOCK: usize = 64;
    out.clear();
    let mut floor = f32::MIN;
    let mut limit = 2 * k + BLOCK;
    for (block, values) in row.chunks(BLOCK).enumerate() {
        if softmax::max(values) < floor {
            continue;
        }
        for (i, &value) in values.iter().enumerate() {
            if value >= floor {
                out.push(Candidate { id: (block * BLOCK + i) as u32, value });
            }
        }
        if out.len() >= limit {
            floor = keep_largest(out, k);
            // Ties may keep the list long; doubling bounds the number of selections.
            limit = limit.max(2 * out.len());
        }
    }
    keep_largest(out, k);
}

fn keep_largest(out: &mut Vec<Candidate>, k: usize) -> f32 {
    if out.len() <= k {
        return f32::MIN;
    }
    let kth = out.select_nth_unstable_by(k - 1, by_rank).1.value;
    out.retain(|c| c.value >= kth);
    kth
}

/// Moves the shortest prefix in rank order whose values add up to at least `mass` to the front and
/// returns its length, at least 1. `candidates` is not empty.
///
/// Halves the undecided range by selection: linear in expectation, however flat the values are.
pub(crate) fn nucleus(candidates: &mut [Candidate], mass: f64) -> usize {
    const SORTED: usize = 64;
    let mut kept = 0;
    let mut kept_mass = 0.0;
    let mut end = candidates.len();
    while end - kept > SORTED {
        let half = (end - kept) / 2;
        candidates[kept..end].select_nth_unstable_by(half, by_rank);
        let upper: f64 = candidates[kept..kept + half].iter().map(|c| f64::from(c.value)).sum();
        if kept_mass + upper < mass {
            kept += half;
            kept_mass += upper;
        } else {
            end = kept + half;
        }
    }
    candidates[kept..end].sort_unstable_by(by_rank);
    while kept < end && kept_mass < mass {
        kept_mass += f64::from(candidates[kept].value);
        kept += 1;
    }
    kept.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(row: &[f32]) -> Vec<Candidate> {
        row.iter().enumerate().map(|(id, &value)| Candidate { id: id as u32, value }).collect()
    }

    proptest! {
        #[test]
        fn largest_equals_a_full_sort(
            row in prop::collection::vec((-40_i32..40).prop_map(|x| x as f32 * 0.25), 1..1500),
            k in 1_usize..200,
        ) {
            let mut expected = all(&row);
            expected.sort_by(by_rank);
            let kth = expected[k.min(row.len()) - 1].value;
            expected.retain(|c| c.value >= kth);
            let mut got = Vec::new();
            largest(&row, k, &mut got);
            got.sort_by(by_rank);
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn nucleus_equals_a_walk_down_the_sorted_list(
            weights in prop::collection::vec((0_u32..64).prop_map(|x| x as f32), 1..1500),
            share in 0.0_f64..1.1,
        ) {
            // Small integers: sums are exact in any order.
            let mut sorted = all(&weights);
            sorted.sort_by(by_rank);
            let mass = share * sorted.iter().map(|c| f64::from(c.value)).sum::<f64>();
            let mut sum = 0.0;
            let mut expected = 0;
            while expected < sorted.len() && sum < mass {
                sum += f64::from(sorted[expected].value);
                expected += 1;
            }
            sorted.truncate(expected.max(1));
            let mut candidates = all(&weights);
            let kept = nucleus(&mut candidates, mass);
            candidates.truncate(kept);
            candidates.sort_by(by_rank);
            prop_assert_eq!(candidates, sorted);
        }
    }

    #[test]
    fn masked_tokens_are_never_candidates() {
        let mut out = Vec::new();
        largest(&[f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 0.0], 3, &mut out);
        out.sort_by(by_rank);
        assert_eq!(out.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 3]);
    }
}
