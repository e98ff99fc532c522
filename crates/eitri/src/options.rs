//! How one generation is carried out.

use std::{sync::Arc, time::Duration};

use eitri_engine::{Request, SamplingParams, TokenId};
use eitri_text::TextDecoderOptions;
use serde_json::{Map, Value};

use crate::SamplingDefaults;

/// Options of one generation. What is `None` comes from the model's `generation_config.json`, or
/// else is neutral.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationOptions {
    /// Most tokens to generate; `None` goes on to an end token or the end of the context.
    pub max_tokens: Option<u32>,
    /// Softmax temperature in `[0, 2]`; 0 is greedy.
    pub temperature: Option<f32>,
    /// Keep the `k` most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probability reaches `p`, in `(0, 1]`.
    pub top_p: Option<f32>,
    /// Drop tokens less likely than `min_p` times the most likely one, in `[0, 1]`.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen; above 0, 1 is neutral.
    pub repetition_penalty: Option<f32>,
    /// Subtracted once from the logit of each generated token, in `[-2, 2]`.
    pub presence_penalty: f32,
    /// Subtracted per occurrence, in `[-2, 2]`.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Strings that end the text. They are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the text.
    pub stop_token_ids: Vec<TokenId>,
    /// End tokens cannot be chosen before this many tokens.
    pub min_tokens: u32,
    /// Go on past the model's end tokens.
    pub ignore_eos: bool,
    /// Keep special tokens in the text.
    pub keep_special_tokens: bool,
    /// The same seed gives the same text; `None` draws one from the engine's seed.
    pub seed: Option<u64>,
    /// Log-probabilities of this many top tokens beside each generated one.
    pub logprobs: Option<u32>,
    /// Lower runs first if the engine's policy is [`crate::SchedulingPolicy::Priority`].
    pub priority: i32,
    /// The whole text is due this long after submission.
    pub deadline: Option<Duration>,
    /// The first token is due this long after submission.
    pub max_ttft: Option<Duration>,
    /// Share cached prefixes only with generations of the same salt.
    pub cache_salt: Option<Arc<str>>,
    /// Further variables of the chat template, such as `enable_thinking`.
    pub chat_template_kwargs: Map<String, Value>,
}

impl GenerationOptions {
    /// Options that always choose the most likely token.
    pub fn greedy() -> Self {
        Self { temperature: Some(0.0), ..Self::default() }
    }

    /// `room`: tokens that the context leaves behind the prompt.
    pub(crate) fn request(
        self,
        prompt: Vec<TokenId>,
        defaults: &SamplingDefaults,
        eos_token_ids: &Arc<[TokenId]>,
        room: usize,
    ) -> Request {
        // A prompt without room is refused by the engine, which says so better than a limit of 0.
        let room = u32::try_from(room.max(1)).unwrap_or(u32::MAX);
        let max_tokens = self.max_tokens.or(defaults.max_tokens.map(|most| most.min(room)));
        let neutral = SamplingParams::default();
        let params = SamplingParams {
            temperature: self.temperature.or(defaults.temperature).unwrap_or(neutral.temperature),
            top_k: self.top_k.or(defaults.top_k).unwrap_or(neutral.top_k),
            top_p: self.top_p.or(defaults.top_p).unwrap_or(neutral.top_p),
            min_p: self.min_p.or(defaults.min_p).unwrap_or(neutral.min_p),
            repetition_penalty: self
                .repetition_penalty
                .or(defaults.repetition_penalty)
                .unwrap_or(neutral.repetition_penalty),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias,
            max_tokens: max_tokens.unwrap_or(room),
            min_tokens: self.min_tokens,
            eos_token_ids: Arc::clone(eos_token_ids),
            stop_token_ids: self.stop_token_ids,
            ignore_eos: self.ignore_eos,
            seed: self.seed,
            logprobs: self.logprobs,
            prompt_logprobs: None,
        };
        Request {
            priority: self.priority,
            deadline: self.deadline,
            max_ttft: self.max_ttft,
            cache_salt: self.cache_salt,
            ..Request::new(prompt, params)
        }
    }

    pub(crate) fn decoder(&self, eos_token_ids: &[TokenId]) -> TextDecoderOptions {
        let mut end_token_ids = self.stop_token_ids.clone();
        if !self.ignore_eos {
            end_token_ids.extend_from_slice(eos_token_ids);
        }
        TextDecoderOptions {
            skip_special_tokens: !self.keep_special_tokens,
            stop: self.stop.clone(),
            include_stop: false,
            end_token_ids,
            min_tokens: self.min_tokens as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_options_then_defaults_then_neutral_values() {
        let eos: Arc<[TokenId]> = Arc::from([2]);
        let defaults = SamplingDefaults {
            temperature: Some(0.6),
            top_k: Some(20),
            max_tokens: Some(500),
            ..SamplingDefaults::default()
        };
        let options = GenerationOptions { top_k: Some(5), ..GenerationOptions::default() };
        let params = options.clone().request(vec![1], &defaults, &eos, 100).params;
        assert_eq!((params.temperature, params.top_k, params.top_p), (0.6, 5, 1.0));
        assert_eq!((params.max_tokens, params.eos_token_ids), (100, Arc::clone(&eos)));
        let options = GenerationOptions { max_tokens: Some(7), ..options };
        assert_eq!(options.decoder(&eos).end_token_ids, [2]);
        assert_eq!(options.clone().request(vec![1], &defaults, &eos, 100).params.max_tokens, 7);
        let options = GenerationOptions { ignore_eos: true, ..options };
        assert!(options.decoder(&eos).end_token_ids.is_empty());
    }
}
