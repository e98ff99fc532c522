//! Data set `sonnet`: a request to pick lines, the first lines of a text file and random others.

use std::path::Path;

use super::{Sample, Sampling, as_chat, bad_data, read};
use crate::{BenchError, draws::GlobalDraws};

const REQUEST: &str = "Pick as many lines as you can from these poem lines:\n";
/// How many prompts may come out too long per prompt that is used.
const TRIES: usize = 1000;

/// `--sonnet-input-len` and its like, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SonnetLengths {
    /// Longest prompt, with the chat template.
    pub input_len: usize,
    /// Tokens to generate.
    pub output_len: usize,
    /// How much of the prompts is the same, about.
    pub prefix_len: usize,
}

impl Default for SonnetLengths {
    fn default() -> Self {
        Self { input_len: 550, output_len: 150, prefix_len: 200 }
    }
}

impl SonnetLengths {
    pub(super) fn samples(
        &self,
        path: &Path,
        sampling: &Sampling<'_>,
        draws: &mut GlobalDraws,
    ) -> Result<Vec<Sample>, BenchError> {
        let text = read(path)?.replace("\r\n", "\n");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        if lines.is_empty() {
            return Err(bad_data(path, "is empty: a text of several lines is needed"));
        }
        let mut tokens = 0;
        for line in &lines {
            tokens += sampling.encoded_len(line)?;
        }
        let per_line = tokens as f64 / lines.len() as f64;
        let template = sampling.chat_template("sonnet")?;
        let base = sampling.encoded_len(&as_chat(&template, REQUEST)?)?;
        if self.input_len <= base {
            let message =
                format!("{} is too short: the request alone has {base} tokens", self.input_len);
            return Err(BenchError::flag("--sonnet-input-len", message));
        }
        // A half is rounded to the even number, as Python does.
        let lines_in = |len: usize| ((len as f64 - base as f64) / per_line).round_ties_even();
        let all = lines_in(self.input_len) as usize;
        let fixed = lines_in(self.prefix_len).max(0.0) as usize;
        let others = all.saturating_sub(fixed);
        let start = REQUEST.to_owned() + &lines[..fixed.min(lines.len())].concat();
        let mut samples = Vec::with_capacity(sampling.count);
        for _ in 0..sampling.count.saturating_mul(TRIES) {
            let chosen = draws.python.choices(lines.len(), others);
            let prompt = chosen.into_iter().fold(start.clone(), |text, at| text + lines[at]);
            let formatted = as_chat(&template, &prompt)?;
            let prompt_tokens = sampling.encoded_len(&formatted)?;
            if prompt_tokens <= self.input_len {
                let prompt = if sampling.chat { prompt } else { formatted };
                samples.push(Sample { prompt, prompt_tokens, output_tokens: self.output_len });
                if samples.len() == sampling.count {
                    return Ok(samples);
                }
            }
        }
        Err(bad_data(path, format!("its lines make no prompts of {} tokens", self.input_len)))
    }
}
