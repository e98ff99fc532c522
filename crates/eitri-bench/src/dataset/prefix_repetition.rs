//! Data set `prefix_repetition`.

use super::{Sample, Sampling, ids, to_length};
use crate::{
    BenchError, Compat,
    draws::{GlobalDraws, PythonRandom, RandomState},
};

/// `--prefix-repetition-prefix-len` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixRepetition {
    /// Tokens that prompts have in common.
    pub prefix_len: usize,
    /// Tokens that they do not.
    pub suffix_len: usize,
    /// Different beginnings. There are `--num-prompts / num_prefixes` prompts of each, rounded down.
    pub num_prefixes: usize,
    /// Tokens to generate.
    pub output_len: usize,
}

impl Default for PrefixRepetition {
    fn default() -> Self {
        Self { prefix_len: 256, suffix_len: 256, num_prefixes: 10, output_len: 128 }
    }
}

impl PrefixRepetition {
    pub(super) fn samples(
        &self,
        sampling: &Sampling<'_>,
        draws: &mut GlobalDraws,
    ) -> Result<Vec<Sample>, BenchError> {
        let of_each = sampling.count.checked_div(self.num_prefixes).unwrap_or(0);
        if of_each == 0 {
            let message = format!(
                "{} is out of range: it is at least 1 and at most the number of prompts, {}",
                self.num_prefixes, sampling.count
            );
            return Err(BenchError::flag("--prefix-repetition-num-prefixes", message));
        }
        draws.numpy = RandomState::new(sampling.seed);
        draws.python = PythonRandom::new(sampling.seed.into());
        let mut samples = Vec::with_capacity(of_each * self.num_prefixes);
        for _ in 0..self.num_prefixes {
            let prefix = tokens(self.prefix_len, sampling, &mut draws.numpy)?;
            for _ in 0..of_each {
                let suffix = tokens(self.suffix_len, sampling, &mut draws.numpy)?;
                let all = [prefix.as_slice(), &suffix].concat();
                samples.push(Sample {
                    prompt: sampling.tokenizer.decode(&all, false)?,
                    prompt_tokens: all.len(),
                    output_tokens: self.output_len,
                });
            }
        }
        if sampling.shuffle {
            draws.python.shuffle(&mut samples);
        }
        Ok(samples)
    }
}

fn tokens(
    len: usize,
    sampling: &Sampling<'_>,
    numpy: &mut RandomState,
) -> Result<Vec<u32>, BenchError> {
    let vocab = sampling.tokenizer.base_vocab_size() as i64;
    let mut draw = |count| ids(numpy.integers(0, vocab, count));
    if sampling.compat < Compat::V0_32 {
        return to_length::accumulated(sampling.tokenizer, len, draw);
    }
    let drawn = draw(len);
    Ok(to_length::corrected(sampling.tokenizer, drawn, len, draw)?.1)
}
