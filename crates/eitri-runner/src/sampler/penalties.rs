//! Changes to single logits: forbidden end tokens, biases, penalties for what was said already.

use eitri_engine::{SamplingParams, TokenId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    token: TokenId,
    /// Occurrences in the output; 0 for a token of the prompt only.
    output: u32,
}

/// Which tokens a sequence has seen and how often it generated them. Sorted by token, so that the
/// order of work does not depend on the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct TokenHistory {
    seen: Vec<Seen>,
}

impl TokenHistory {
    /// Starts anew with the given tokens and makes room for `more` distinct ones.
    pub(crate) fn reset(&mut self, prompt: &[TokenId], output: &[TokenId], more: usize) {
        self.seen.clear();
        self.seen.reserve(prompt.len() + output.len() + more);
        self.seen.extend(prompt.iter().map(|&token| Seen { token, output: 0 }));
        self.seen.extend(output.iter().map(|&token| Seen { token, output: 1 }));
        self.seen.sort_unstable_by_key(|s| s.token);
        self.seen.dedup_by(|next, kept| {
            let same = next.token == kept.token;
            if same {
                kept.output += next.output;
            }
            same
        });
    }

    /// Counts a generated token.
    pub(crate) fn record(&mut self, token: TokenId) {
        match self.seen.binary_search_by_key(&token, |s| s.token) {
            Ok(at) => self.seen[at].output += 1,
            Err(at) => self.seen.insert(at, Seen { token, output: 1 }),
        }
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Whether `params` needs a history at all.
    pub(crate) fn is_needed(params: &SamplingParams) -> bool {
        is_set(params.repetition_penalty, 1.0)
            || is_set(params.frequency_penalty, 0.0)
            || is_set(params.presence_penalty, 0.0)
    }
}

/// Exact comparison: the neutral value itself switches a penalty off, nothing near it does.
fn is_set(value: f32, neutral: f32) -> bool {
    value.to_bits() != neutral.to_bits()
}

/// Makes end and stop tokens impossible while fewer than `min_tokens` were generated.
pub(crate) fn mask_end_tokens(row: &mut [f32], params: &SamplingParams, generated: u64) {
    if generated >= u64::from(params.min_tokens) {
        return;
    }
    for &token in params.eos_token_ids.iter().chain(&params.stop_token_ids) {
        // A stop token outside the vocabulary cannot be chosen anyway.
        if let Some(x) = row.get_mut(token as usize) {
            *x = f32::NEG_INFINITY;
        }
    }
}

/// Adds the biases.
///
/// # Errors
/// The first token that is not in the vocabulary.
pub(crate) fn add_bias(row: &mut [f32], params: &SamplingParams) -> Result<(), TokenId> {
    for &(token, bias) in &params.logit_bias {
        *row.get_mut(token as usize).ok_or(token)? += bias;
    }
    Ok(())
}

/// Repetition penalty over prompt and output, then frequency and presence penalties over the
/// output.
pub(crate) fn penalise(row: &mut [f32], params: &SamplingParams, history: &TokenHistory) {
    if !TokenHistory::is_needed(params) {
        return;
    }
    let repetition = params.repetition_penalty;
    for seen in &history.seen {
        let Some(x) = row.get_mut(seen.token as usize) else { continue };
        *x = if *x > 0.0 { *x / repetition } else { *x * repetition };
        if seen.output > 0 {
            *x -= params.frequency_penalty * seen.output as f32;
            *x -= params.presence_penalty;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn penalties_equal_their_definition(
            prompt in prop::collection::vec(0_u32..50, 1..80),
            output in prop::collection::vec(0_u32..50, 0..80),
            known in 0_usize..80,
            repetition in prop_oneof![Just(1.0_f32), 0.2_f32..3.0],
            frequency in prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
            presence in prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
        ) {
            let params = SamplingParams {
                repetition_penalty: repetition,
                frequency_penalty: frequency,
                presence_penalty: presence,
                ..SamplingParams::default()
            };
            let logits: Vec<f32> = (0..50).map(|i| (i as f32 - 25.0) * 0.3).collect();
            let mut counts = HashMap::new();
            for &token in &output {
                *counts.entry(token).or_insert(0) += 1;
            }
            let expected: Vec<f32> = (0..50_u32)
                .map(|token| {
                    let mut x = logits[token as usize];
                    if prompt.contains(&token) || output.contains(&token) {
                        x = if x > 0.0 { x / repetition } else { x * repetition };
                    }
                    let count = counts.get(&token).copied().unwrap_or(0);
                    x -= frequency * count as f32;
                    x -= if count > 0 { presence } else { 0.0 };
                    x
                })
                .collect();
            // Part of the output is known at admission (after a preemption), the rest arrives later.
            let known = known.min(output.len());
            let mut history = TokenHistory::default();
            history.reset(&prompt, &output[..known], output.len() - known);
            for &token in &output[known..] {
                history.record(token);
            }
            let mut row = logits;
            penalise(&mut row, &params, &history);
            prop_assert_eq!(row, expected);
        }
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "single additions of exact values")]
    fn end_tokens_are_masked_until_min_tokens_and_bias_outside_is_named() {
        let params = SamplingParams {
            min_tokens: 2,
            max_tokens: 5,
            eos_token_ids: [1].into(),
            stop_token_ids: vec![2, 900],
            logit_bias: vec![(0, 1.5), (3, -100.0)],
            ..SamplingParams::default()
        };
        let mut row = [0.0; 4];
        mask_end_tokens(&mut row, &params, 2);
        assert_eq!(row, [0.0; 4]);
        mask_end_tokens(&mut row, &params, 1);
        assert_eq!(row, [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0]);
        add_bias(&mut row, &params).unwrap();
        assert_eq!(row, [1.5, f32::NEG_INFINITY, f32::NEG_INFINITY, -100.0]);
        let outside = SamplingParams { logit_bias: vec![(4, 1.0)], ..params };
        assert_eq!(add_bias(&mut row, &outside), Err(4));
    }
}
