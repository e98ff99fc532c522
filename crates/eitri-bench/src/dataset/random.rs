//! Data set `random`.

use eitri_text::Tokenizer;

use super::{Sample, Sampling, ids, to_length};
use crate::{
    BenchError, Compat,
    draws::{Generator, GlobalDraws, PythonRandom, RandomState},
};

/// `--random-input-len` and its like, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomLengths {
    /// `--random-input-len`, with the tokens that the tokenizer adds.
    pub input_len: usize,
    /// `--random-output-len`.
    pub output_len: usize,
    /// `--random-prefix-len`: the same random tokens before every prompt.
    pub prefix_len: usize,
    /// `--random-range-ratio`.
    pub range_ratio: RangeRatio,
}

impl Default for RandomLengths {
    fn default() -> Self {
        let range_ratio = RangeRatio { input: 0.0, output: 0.0 };
        Self { input_len: 1024, output_len: 128, prefix_len: 0, range_ratio }
    }
}

/// By which share lengths may be above or below the mean, each in [0, 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeRatio {
    /// Of prompts.
    pub input: f64,
    /// Of answers.
    pub output: f64,
}

/// Both ends inclusive.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: i64,
    high: i64,
}

/// What is drawn for every prompt.
struct Plan {
    prefix: Vec<u32>,
    input_lens: Vec<i64>,
    output_lens: Vec<i64>,
    /// Where in the vocabulary each prompt starts.
    offsets: Vec<i64>,
}

impl RandomLengths {
    pub(super) fn samples(
        &self,
        sampling: &Sampling<'_>,
        draws: &mut GlobalDraws,
    ) -> Result<Vec<Sample>, BenchError> {
        let ratios = [self.range_ratio.input, self.range_ratio.output];
        if let Some(ratio) = ratios.into_iter().find(|ratio| !(0.0..1.0).contains(ratio)) {
            let message = format!("{ratio} is out of range: a ratio is at least 0 and below 1");
            return Err(BenchError::flag("--random-range-ratio", message));
        }
        let added = sampling.tokenizer.encode("", true)?.len();
        let own = self.input_len.checked_sub(added).ok_or_else(|| {
            let message = format!(
                "{} is too short: the tokenizer itself adds {added} tokens",
                self.input_len
            );
            BenchError::flag("--random-input-len", message)
        })?;
        match sampling.compat {
            Compat::V0_10 => self.v0_10(own, sampling, draws),
            Compat::V0_11 => self.v0_11(own, sampling),
            Compat::V0_32 => self.v0_32(own, sampling),
        }
    }

    /// Draws from the legacy generator; what became too short stays so.
    fn v0_10(
        &self,
        own: usize,
        sampling: &Sampling<'_>,
        draws: &mut GlobalDraws,
    ) -> Result<Vec<Sample>, BenchError> {
        draws.numpy = RandomState::new(sampling.seed);
        draws.python = PythonRandom::new(sampling.seed.into());
        let vocab = sampling.tokenizer.base_vocab_size() as i64;
        let input = Range::truncated(own, self.range_ratio.input);
        let output = Range::truncated(self.output_len, self.range_ratio.output);
        let numpy = &mut draws.numpy;
        let plan = Plan {
            prefix: ids(numpy.integers(0, vocab, self.prefix_len)),
            input_lens: numpy.integers(input.low, input.high + 1, sampling.count),
            output_lens: numpy.integers(output.low, output.high + 1, sampling.count),
            offsets: numpy.integers(0, vocab, sampling.count),
        };
        plan.cut_samples(sampling)
    }

    /// Draws from a generator of its own, the prefix last.
    fn v0_11(&self, own: usize, sampling: &Sampling<'_>) -> Result<Vec<Sample>, BenchError> {
        let mut generator = Generator::new(sampling.seed);
        let mut plan = self.newer_plan(own, sampling, &mut generator);
        let vocab = sampling.tokenizer.base_vocab_size() as i64;
        plan.prefix = ids(generator.integers(0, vocab, self.prefix_len));
        plan.cut_samples(sampling)
    }

    /// Leaves out special tokens and corrects every prompt to its length.
    fn v0_32(&self, own: usize, sampling: &Sampling<'_>) -> Result<Vec<Sample>, BenchError> {
        let least = self.prefix_len + Range::rounded_out(own, self.range_ratio.input).low as usize;
        if least == 0 {
            let message = format!("{} is too short: prompts could be empty", self.input_len);
            return Err(BenchError::flag("--random-input-len", message));
        }
        let mut generator = Generator::new(sampling.seed);
        let plan = self.newer_plan(own, sampling, &mut generator);
        let tokenizer = sampling.tokenizer;
        let vocab = tokenizer.base_vocab_size();
        let allowed: Vec<u32> = (0..vocab as u32).filter(|&id| !tokenizer.is_special(id)).collect();
        let mut prefix = Vec::new();
        if self.prefix_len > 0 {
            let places = ids(generator.integers(0, allowed.len() as i64, self.prefix_len));
            let drawn = places.into_iter().map(|place| allowed[place as usize]).collect();
            let draw = |count| ids(generator.integers(0, vocab as i64, count));
            prefix = to_length::corrected(tokenizer, drawn, self.prefix_len, draw)?.1;
        }
        let mut samples = Vec::with_capacity(sampling.count);
        for index in 0..sampling.count {
            let mut sequence = prefix.clone();
            sequence.extend(plan.inner(index, allowed.len()).map(|place| allowed[place]));
            let target = self.prefix_len + plan.input_lens[index] as usize;
            let draw = |count| ids(generator.integers(0, vocab as i64, count));
            let (prompt, ids) = to_length::corrected(tokenizer, sequence, target, draw)?;
            let output_tokens = plan.output_lens[index] as usize;
            samples.push(Sample { prompt, prompt_tokens: ids.len(), output_tokens });
        }
        Ok(samples)
    }

    fn newer_plan(&self, own: usize, sampling: &Sampling<'_>, generator: &mut Generator) -> Plan {
        let input = Range::rounded_out(own, self.range_ratio.input);
        let output = Range::rounded_out(self.output_len, self.range_ratio.output);
        let output = Range { low: output.low.max(1), high: output.high.max(1) };
        let vocab = sampling.tokenizer.base_vocab_size() as i64;
        let count = sampling.count;
        Plan {
            prefix: Vec::new(),
            input_lens: generator.integers(input.low, input.high + 1, count),
            output_lens: generator.integers(output.low, output.high + 1, count),
            offsets: generator.integers(0, vocab, count),
        }
    }
}

impl Range {
    fn truncated(length: usize, ratio: f64) -> Self {
        let length = length as f64;
        Self { low: (length * (1.0 - ratio)) as i64, high: (length * (1.0 + ratio)) as i64 }
    }

    fn rounded_out(length: usize, ratio: f64) -> Self {
        let length = length as f64;
        let (low, high) = (length * (1.0 - ratio), length * (1.0 + ratio));
        Self { low: low.floor() as i64, high: high.ceil() as i64 }
    }
}

impl Plan {
    /// Places in a vocabulary of `size` entries, one after the other.
    fn inner(&self, index: usize, size: usize) -> impl Iterator<Item = usize> {
        let start = self.offsets[index] as usize + index;
        (0..self.input_lens[index] as usize).map(move |step| (start + step) % size)
    }

    /// The older method: decoded, encoded, cut and decoded again.
    fn cut_samples(&self, sampling: &Sampling<'_>) -> Result<Vec<Sample>, BenchError> {
        let one = |index| self.cut_sample(index, sampling.tokenizer);
        (0..sampling.count).map(one).collect()
    }

    fn cut_sample(&self, index: usize, tokenizer: &Tokenizer) -> Result<Sample, BenchError> {
        let mut sequence = self.prefix.clone();
        let inner = self.inner(index, tokenizer.base_vocab_size());
        sequence.extend(inner.map(|place| place as u32));
        let target = sequence.len();
        let mut encoded = tokenizer.encode(&tokenizer.decode(&sequence, false)?, false)?;
        encoded.truncate(target);
        Ok(Sample {
            prompt: tokenizer.decode(&encoded, false)?,
            prompt_tokens: encoded.len(),
            output_tokens: self.output_lens[index] as usize,
        })
    }
}
