//! Data set `custom`: a JSON object with a `prompt` on every line.

use std::path::Path;

use serde::Deserialize;

use super::{Sample, Sampling, as_chat, bad_data, read};
use crate::{BenchError, Compat, draws::GlobalDraws};

#[derive(Deserialize)]
struct Line {
    prompt: String,
    output_tokens: Option<usize>,
}

pub(super) fn samples(
    path: &Path,
    output_len: Option<usize>,
    skip_chat_template: bool,
    sampling: &Sampling<'_>,
    draws: &mut GlobalDraws,
) -> Result<Vec<Sample>, BenchError> {
    let mut lines = Vec::new();
    for (number, text) in read(path)?.lines().enumerate() {
        if !text.trim().is_empty() {
            let line: Line = serde_json::from_str(text).map_err(|error| {
                bad_data(path, format!("line {}: no object with a prompt: {error}", number + 1))
            })?;
            lines.push((number + 1, line));
        }
    }
    if lines.is_empty() {
        return Err(bad_data(path, "holds no line with a prompt"));
    }
    // The older clients do not hand their seed to this data set.
    let seed = if sampling.compat < Compat::V0_32 { 0 } else { sampling.seed };
    sampling.shuffle(&mut lines, seed, draws);
    let template = if skip_chat_template { None } else { Some(sampling.chat_template("custom")?) };
    let mut samples = Vec::with_capacity(sampling.count);
    for (number, line) in lines.into_iter().take(sampling.count) {
        let output_tokens = output_len.or(line.output_tokens).ok_or_else(|| {
            let message = format!(
                "line {number}: no output_tokens, which is needed without an output length"
            );
            bad_data(path, message)
        })?;
        let prompt = match &template {
            Some(template) => as_chat(template, &line.prompt)?,
            None => line.prompt,
        };
        let prompt_tokens = sampling.encoded_len(&prompt)?;
        samples.push(Sample { prompt, prompt_tokens, output_tokens });
    }
    sampling.draw_prompts_again(&mut samples, seed, draws);
    Ok(samples)
}
