//! Sampling parameters of one request, as the executor needs them.

use std::sync::Arc;

use crate::TokenId;

/// How the tokens of one request are chosen.
///
/// Defaults are those of the OpenAI and vLLM APIs. Validation of ranges that users can get wrong is
/// done by [`SamplingParams::validate`], so that every front end gives the same message.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Softmax temperature. Below `1e-5` the choice is greedy (lowest id wins a tie).
    pub temperature: f32,
    /// Keep the `k` most likely tokens; `0` keeps all. Ties with the `k`-th value are kept.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probability reaches `p`, in `(0, 1]`.
    pub top_p: f32,
    /// Drop tokens less likely than `min_p` times the most likely one, in `[0, 1]`.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen in prompt or output; `> 0`.
    pub repetition_penalty: f32,
    /// Subtracted once from the logit of each token seen in the output, in `[-2, 2]`.
    pub presence_penalty: f32,
    /// Subtracted per occurrence in the output, in `[-2, 2]`.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens; acts on greedy choice too.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Most tokens to generate, at least 1.
    pub max_tokens: u32,
    /// EOS and stop tokens cannot be chosen before this many tokens were generated.
    pub min_tokens: u32,
    /// The model's own end tokens; the sequence ends with [`crate::FinishReason::Eos`].
    pub eos_token_ids: Arc<[TokenId]>,
    /// Tokens that end the sequence with [`crate::FinishReason::StopToken`].
    pub stop_token_ids: Vec<TokenId>,
    /// Ignore `eos_token_ids` (but not `stop_token_ids`).
    pub ignore_eos: bool,
    /// Seed of the per-request random stream; `None` draws one from the engine's seed.
    pub seed: Option<u64>,
    /// Log-probabilities of this many top tokens beside the sampled one, per generated token.
    pub logprobs: Option<u32>,
    /// The same for each prompt token. Disables reading the prefix cache.
    pub prompt_logprobs: Option<u32>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            max_tokens: 16,
            min_tokens: 0,
            eos_token_ids: Arc::from([]),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            seed: None,
            logprobs: None,
            prompt_logprobs: None,
        }
    }
}

/// A sampling parameter outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} must be {expected}, got {value}")]
pub struct ParamError {
    /// Name of the field as in the API.
    pub field: &'static str,
    /// What would be right.
    pub expected: &'static str,
    /// The value that was given.
    pub value: String,
}

impl SamplingParams {
    /// Greedy choice of up to `max_tokens` tokens.
    pub fn greedy(max_tokens: u32) -> Self {
        Self { temperature: 0.0, max_tokens, ..Self::default() }
    }

    /// Whether the choice is the largest logit rather than a draw.
    pub fn is_greedy(&self) -> bool {
        self.temperature < 1e-5
    }

    /// Checks every range.
    ///
    /// # Errors
    /// Names the first field out of range and what it should be.
    pub fn validate(&self) -> Result<(), ParamError> {
        fn check(
            ok: bool,
            field: &'static str,
            expected: &'static str,
            value: &impl ToString,
        ) -> Result<(), ParamError> {
            if ok { Ok(()) } else { Err(ParamError { field, expected, value: value.to_string() }) }
        }
        let pm2 = |x: f32| (-2.0..=2.0).contains(&x);
        check(
            (0.0..=2.0).contains(&self.temperature),
            "temperature",
            "in [0, 2]",
            &self.temperature,
        )?;
        check(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", "in (0, 1]", &self.top_p)?;
        check((0.0..=1.0).contains(&self.min_p), "min_p", "in [0, 1]", &self.min_p)?;
        check(
            self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
            "repetition_penalty",
            "greater than 0",
            &self.repetition_penalty,
        )?;
        check(
            pm2(self.presence_penalty),
            "presence_penalty",
            "in [-2, 2]",
            &self.presence_penalty,
        )?;
        check(
            pm2(self.frequency_penalty),
            "frequency_penalty",
            "in [-2, 2]",
            &self.frequency_penalty,
        )?;
        check(self.max_tokens >= 1, "max_tokens", "at least 1", &self.max_tokens)?;
        check(
            self.min_tokens <= self.max_tokens,
            "min_tokens",
            "at most max_tokens",
            &self.min_tokens,
        )?;
        for &(id, bias) in &self.logit_bias {
            check(bias.is_finite(), "logit_bias", "finite", &format!("{bias} for token {id}"))?;
        }
        Ok(())
    }
}
