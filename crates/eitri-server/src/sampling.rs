//! From the fields of a request to the engine's parameters.

use std::{sync::Arc, time::Duration};

use eitri_engine::{Request, SamplingParams};
use eitri_openai::SamplingFields;
use eitri_text::TextDecoderOptions;

use crate::{ApiError, AppState, ServedModel, ServerConfig};

/// vLLM raises positive temperatures to this, below which float32 logits overflow.
const LEAST_TEMPERATURE: f64 = 0.01;

/// How many tokens may be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// As many as the context leaves, or fewer.
    UpTo(u32),
    /// None: the prompt is only read.
    PromptOnly,
}

/// What a route asks for beyond the fields that all share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) budget: Budget,
    pub(crate) logprobs: Option<u32>,
    pub(crate) prompt_logprobs: Option<u32>,
}

/// A checked request that lacks only its prompt.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    params: SamplingParams,
    pub(crate) n: u32,
    pub(crate) budget: Budget,
    decoder: TextDecoderOptions,
    priority: i32,
    deadline: Option<Duration>,
    max_ttft: Option<Duration>,
    cache_salt: Option<Arc<str>>,
}

impl Spec {
    /// Checks the shared fields.
    pub(crate) fn new(
        fields: &SamplingFields,
        wanted: Wanted,
        state: &AppState,
    ) -> Result<Self, ApiError> {
        let (model, config) = (state.model(), state.config());
        let max_tokens = match wanted.budget {
            Budget::UpTo(tokens) => tokens,
            Budget::PromptOnly => 1,
        };
        let ignore_eos = fields.ignore_eos.unwrap_or(false);
        let (primary, further) = match model.defaults.eos_token_ids.split_first() {
            Some((primary, further)) => (vec![*primary], further),
            None => (Vec::new(), &[][..]),
        };
        check_vocabulary("stop_token_ids", &fields.stop_token_ids, model)?;
        let mut stop_token_ids = fields.stop_token_ids.clone();
        if !ignore_eos {
            stop_token_ids.extend(further);
        }
        let mut end_token_ids = stop_token_ids.clone();
        if !ignore_eos {
            end_token_ids.extend(&primary);
        }
        let params = SamplingParams {
            max_tokens,
            min_tokens: count("min_tokens", fields.min_tokens.unwrap_or(0), 0)?,
            eos_token_ids: primary.into(),
            stop_token_ids,
            ignore_eos,
            logprobs: wanted.logprobs,
            prompt_logprobs: wanted.prompt_logprobs,
            ..choice(fields, model)?
        };
        params.validate()?;
        let n = check_n(fields.n, params.is_greedy(), config)?;
        let decoder = TextDecoderOptions {
            skip_special_tokens: fields.skip_special_tokens.unwrap_or(true),
            stop: check_stop(&fields.stop, config)?,
            include_stop: fields.include_stop_str_in_output.unwrap_or(false),
            end_token_ids,
            min_tokens: params.min_tokens as usize,
        };
        Ok(Self {
            params,
            n,
            budget: wanted.budget,
            decoder,
            priority: fields.priority.unwrap_or(0),
            deadline: milliseconds("deadline_ms", fields.deadline_ms)?,
            max_ttft: milliseconds("max_ttft_ms", fields.max_ttft_ms)?,
            cache_salt: check_salt(fields.cache_salt.as_deref())?,
        })
    }

    /// The engine's request for one prompt, and how its answer becomes text. The tokens that may be
    /// generated are cut down to what the context leaves.
    pub(crate) fn for_prompt(
        &self,
        prompt: Vec<u32>,
        max_model_len: usize,
    ) -> Result<(Request, TextDecoderOptions), ApiError> {
        let len = prompt.len();
        if len == 0 {
            let message = "prompt has no tokens: at least one is needed";
            return Err(ApiError::field("prompt", message));
        }
        if len >= max_model_len {
            return Err(ApiError::field(
                "prompt",
                format!(
                    "This model's maximum context length is {max_model_len} tokens, but the \
                     prompt has {len} tokens: at most {} leave room for an answer",
                    max_model_len - 1
                ),
            ));
        }
        let room = u32::try_from(max_model_len - len).unwrap_or(u32::MAX);
        let mut params = self.params.clone();
        params.max_tokens = params.max_tokens.min(room);
        params.min_tokens = params.min_tokens.min(params.max_tokens);
        let request = Request {
            n: self.n,
            priority: self.priority,
            deadline: self.deadline,
            max_ttft: self.max_ttft,
            cache_salt: self.cache_salt.clone(),
            ..Request::new(prompt, params)
        };
        Ok((request, self.decoder.clone()))
    }
}

/// How a token is chosen: the request's value, else the model's, else the API's.
fn choice(fields: &SamplingFields, model: &ServedModel) -> Result<SamplingParams, ApiError> {
    let defaults = &model.defaults;
    let mut temperature = fields.temperature.or(defaults.temperature).unwrap_or(1.0);
    if temperature > 0.0 {
        temperature = temperature.max(LEAST_TEMPERATURE);
    }
    let top_k = fields.top_k.or(defaults.top_k).unwrap_or(0);
    if top_k < -1 {
        let message = format!("top_k must be -1 or 0 (off) or at least 1, got {top_k}");
        return Err(ApiError::field("top_k", message));
    }
    let penalty = fields.repetition_penalty.or(defaults.repetition_penalty).unwrap_or(1.0);
    Ok(SamplingParams {
        temperature: temperature as f32,
        top_k: u32::try_from(top_k.max(0)).unwrap_or(u32::MAX),
        top_p: fields.top_p.or(defaults.top_p).unwrap_or(1.0) as f32,
        min_p: fields.min_p.or(defaults.min_p).unwrap_or(0.0) as f32,
        repetition_penalty: penalty as f32,
        presence_penalty: fields.presence_penalty.unwrap_or(0.0) as f32,
        frequency_penalty: fields.frequency_penalty.unwrap_or(0.0) as f32,
        logit_bias: logit_bias(fields, model)?,
        seed: fields.seed.filter(|&seed| seed != -1).map(|seed| seed as u64),
        ..SamplingParams::default()
    })
}

fn logit_bias(fields: &SamplingFields, model: &ServedModel) -> Result<Vec<(u32, f32)>, ApiError> {
    let entries = fields.logit_bias.iter().map(|(token, &bias)| {
        let id = token.parse::<u32>().ok().filter(|&id| id < model.vocab_size);
        let id = id.ok_or_else(|| {
            let last = model.vocab_size.saturating_sub(1);
            let message = format!("logit_bias names token `{token}`: ids go from 0 to {last}");
            ApiError::field("logit_bias", message)
        })?;
        Ok((id, bias.clamp(-100.0, 100.0) as f32))
    });
    entries.collect()
}

/// Checks that the model knows the ids.
pub(crate) fn check_vocabulary(
    field: &'static str,
    ids: &[u32],
    model: &ServedModel,
) -> Result<(), ApiError> {
    match ids.iter().find(|&&id| id >= model.vocab_size) {
        None => Ok(()),
        Some(id) => {
            let last = model.vocab_size.saturating_sub(1);
            let message = format!("{field} holds token id {id}, which is out of vocabulary");
            Err(ApiError::field(field, format!("{message}: ids go from 0 to {last}")))
        }
    }
}

fn check_n(n: Option<i64>, greedy: bool, config: &ServerConfig) -> Result<u32, ApiError> {
    let n = n.unwrap_or(1);
    let max = config.max_n;
    let valid = u32::try_from(n).ok().filter(|n| (1..=max).contains(n));
    let n =
        valid.ok_or_else(|| ApiError::field("n", format!("n must be in 1..={max}, got {n}")))?;
    if n > 1 && greedy {
        let message = format!("n must be 1 with temperature 0, got {n}: all would be the same");
        return Err(ApiError::field("n", message));
    }
    Ok(n)
}

fn check_stop(stop: &[String], config: &ServerConfig) -> Result<Vec<String>, ApiError> {
    let max = config.max_stop_strings;
    if stop.len() > max {
        let message = format!("stop has {} strings: at most {max} are allowed", stop.len());
        return Err(ApiError::field("stop", message));
    }
    if stop.iter().any(String::is_empty) {
        return Err(ApiError::field("stop", "stop holds an empty string, which is everywhere"));
    }
    Ok(stop.to_vec())
}

fn check_salt(salt: Option<&str>) -> Result<Option<Arc<str>>, ApiError> {
    match salt {
        Some("") => Err(ApiError::field("cache_salt", "cache_salt must not be empty")),
        salt => Ok(salt.map(Arc::from)),
    }
}

fn milliseconds(field: &'static str, value: Option<i64>) -> Result<Option<Duration>, ApiError> {
    match value {
        None => Ok(None),
        Some(value) => match u64::try_from(value) {
            Ok(value) if value > 0 => Ok(Some(Duration::from_millis(value))),
            _ => Err(ApiError::field(field, format!("{field} must be at least 1, got {value}"))),
        },
    }
}

/// A count of at least `min`; more than the engine can count is the same as all it can.
pub(crate) fn count(field: &'static str, value: i64, min: u32) -> Result<u32, ApiError> {
    if value < i64::from(min) {
        return Err(ApiError::field(field, format!("{field} must be at least {min}, got {value}")));
    }
    Ok(u32::try_from(value).unwrap_or(u32::MAX))
}

/// A number of log-probabilities within the server's limit.
pub(crate) fn logprobs(
    field: &'static str,
    value: Option<i64>,
    config: &ServerConfig,
) -> Result<Option<u32>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let max = config.max_logprobs;
    let valid = u32::try_from(value).ok().filter(|&value| value <= max);
    let message = || format!("{field} must be in 0..={max}, got {value}");
    valid.map(Some).ok_or_else(|| ApiError::field(field, message()))
}
