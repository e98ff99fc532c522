//! Data set `sharegpt`: a JSON list of objects whose `conversations` are lists of turns.

use std::path::Path;

use serde::Deserialize;

use super::{Sample, Sampling, bad_data, read};
use crate::{BenchError, draws::GlobalDraws};

/// Shortest prompt and answer that is used, in tokens.
const MIN_LEN: usize = 4;
const MAX_PROMPT_LEN: usize = 1024;
const MAX_TOTAL_LEN: usize = 2048;

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    value: String,
}

pub(super) fn samples(
    path: &Path,
    output_len: Option<usize>,
    sampling: &Sampling<'_>,
    draws: &mut GlobalDraws,
) -> Result<Vec<Sample>, BenchError> {
    let entries: Vec<Entry> = serde_json::from_str(&read(path)?).map_err(|error| {
        bad_data(path, format!("not a list of conversations as ShareGPT has them: {error}"))
    })?;
    let mut turns: Vec<(String, String)> = entries
        .into_iter()
        .filter_map(|entry| {
            let mut values = entry.conversations.into_iter().map(|turn| turn.value);
            Some((values.next()?, values.next()?))
        })
        .collect();
    sampling.shuffle(&mut turns, sampling.seed, draws);
    let mut samples = Vec::with_capacity(sampling.count);
    for (prompt, answer) in turns {
        if samples.len() == sampling.count {
            break;
        }
        let prompt_tokens = sampling.encoded_len(&prompt)?;
        let output_tokens = match output_len {
            Some(len) => len,
            None => sampling.encoded_len(&answer)?,
        };
        let long_enough = output_len.is_some() || output_tokens >= MIN_LEN;
        if prompt_tokens >= MIN_LEN
            && long_enough
            && prompt_tokens <= MAX_PROMPT_LEN
            && prompt_tokens + output_tokens <= MAX_TOTAL_LEN
        {
            samples.push(Sample { prompt, prompt_tokens, output_tokens });
        }
    }
    if samples.is_empty() {
        let message = format!(
            "no conversation whose prompt has {MIN_LEN} to {MAX_PROMPT_LEN} tokens, and at most \
             {MAX_TOTAL_LEN} with its answer"
        );
        return Err(bad_data(path, message));
    }
    sampling.draw_prompts_again(&mut samples, sampling.seed, draws);
    Ok(samples)
}
