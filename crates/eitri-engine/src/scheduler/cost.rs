//! How long a step will take, learnt from those that were.
//!
//! Step time is modelled as a sum of a fixed part, a part per prefill token, a part per prefill
//! token and token of context it attends to, a part per decoding sequence, and a part per token of
//! context of those. The weights solve a non-negative least-squares problem over past steps that
//! fade out exponentially, by coordinate descent from the last solution. Where the past says
//! nothing about a weight (long phases of pure decoding), the weight stays as it is.

use std::time::Duration;

const TERMS: usize = 5;
/// Features are divided by these, so that typical values are near one.
const SCALE: [f64; TERMS] = [64.0, 65536.0, 8.0, 8192.0, 1.0];
/// A step counts half after about 140 steps.
const FADE: f64 = 0.995;
/// Pull towards the previous solution.
const PULL: f64 = 1e-4;
const SWEEPS: usize = 12;
/// A measured time counts at most this multiple of the predicted one: one page fault storm must not
/// shrink chunks, lasting slowness still gets through.
const OUTLIER: f64 = 3.0;
/// Errors above this are accidents that no margin should provide for: the executor cuts such steps.
const MAX_EXCESS: f64 = 0.25;
/// An error counts half in the margin after about 70 steps.
const FADE_EXCESS: f64 = 0.99;
/// Margin beside the worst error seen.
const MARGIN: f64 = 1.08;
const SETTLED: u64 = 8;
/// Smallest chunk, and the first one before anything was measured.
const MIN_CHUNK: usize = 16;
/// A chunk grows to at most this multiple of the largest one measured, since the model is not to be
/// trusted far outside of what it saw.
const GROWTH: usize = 2;

/// What a step has to do, as far as it matters for its time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StepLoad {
    pub(crate) decode_rows: usize,
    decode_context: usize,
    pub(crate) prefill_tokens: usize,
    /// Sum over prefill tokens of the context they attend to.
    prefill_work: f64,
}

impl StepLoad {
    pub(crate) fn add_decode(&mut self, position: usize) {
        self.decode_rows += 1;
        self.decode_context += position;
    }

    pub(crate) fn add_prefill(&mut self, start: usize, len: usize) {
        self.prefill_tokens += len;
        self.prefill_work += len as f64 * (start as f64 + len as f64 / 2.0);
    }

    /// Only `kept` of `len` tokens were carried through. Some of the time went into the others, which
    /// the model takes for a cost of those that were kept: it errs on the side of small chunks.
    pub(crate) fn cut_prefill(&mut self, start: usize, len: usize, kept: usize) {
        let work = |len: usize| len as f64 * (start as f64 + len as f64 / 2.0);
        self.prefill_tokens -= len - kept;
        self.prefill_work -= work(len) - work(kept);
    }

    fn features(&self) -> [f64; TERMS] {
        [
            self.prefill_tokens as f64 / SCALE[0],
            self.prefill_work / SCALE[1],
            self.decode_rows as f64 / SCALE[2],
            self.decode_context as f64 / SCALE[3],
            1.0 / SCALE[4],
        ]
    }
}

#[derive(Debug, Default)]
pub(crate) struct CostModel {
    /// Faded sums of products of features, and of features and times.
    gram: [[f64; TERMS]; TERMS],
    moments: [f64; TERMS],
    /// Milliseconds per scaled feature.
    weights: [f64; TERMS],
    /// Largest amount of late, relative to the prediction, by which a step took longer; fades.
    excess: f64,
    largest_prefill: usize,
    steps: u64,
}

impl CostModel {
    pub(crate) fn observe(&mut self, load: &StepLoad, elapsed: Duration) {
        let x = load.features();
        let mut y = elapsed.as_secs_f64() * 1e3;
        let predicted = dot(&self.weights, &x);
        let settled = self.steps >= SETTLED && load.prefill_tokens <= self.largest_prefill;
        if settled && predicted > 0.0 {
            let excess = (y / predicted - 1.0).clamp(0.0, MAX_EXCESS);
            self.excess = excess.max(self.excess * FADE_EXCESS);
            y = y.min(predicted * OUTLIER);
        }
        for i in 0..TERMS {
            for j in 0..TERMS {
                self.gram[i][j] = FADE * self.gram[i][j] + x[i] * x[j];
            }
            self.moments[i] = FADE * self.moments[i] + x[i] * y;
        }
        self.solve();
        self.largest_prefill = self.largest_prefill.max(load.prefill_tokens);
        self.steps += 1;
    }

    /// Prefill terms come first: what cannot be told apart yet counts as cost of the prompt, which
    /// errs on the side of small chunks.
    fn solve(&mut self) {
        let previous = self.weights;
        for _ in 0..SWEEPS {
            for (i, before) in previous.iter().enumerate() {
                let others = dot(&self.gram[i], &self.weights) - self.gram[i][i] * self.weights[i];
                let numerator = self.moments[i] - others + PULL * before;
                self.weights[i] = (numerator / (self.gram[i][i] + PULL)).max(0.0);
            }
        }
    }

    /// Predicted milliseconds with a margin for what the model cannot know: a bound is about the
    /// slowest steps, so the margin follows the worst recent error rather than the mean one.
    fn cautious(&self, load: &StepLoad) -> f64 {
        let margin = MARGIN * (1.0 + self.excess);
        margin * dot(&self.weights, &load.features())
    }

    /// How many of `want` tokens from position `start` on may join `load` so that the step stays
    /// below `bound`. A step without prefill always takes a smallest chunk, so that prompts make
    /// progress however tight the bound is.
    pub(crate) fn limit(
        &self,
        load: &StepLoad,
        start: usize,
        want: usize,
        bound: Duration,
    ) -> usize {
        let bound = bound.as_secs_f64() * 1e3;
        let trusted = (self.largest_prefill * GROWTH).max(MIN_CHUNK);
        let most = want.min(trusted.saturating_sub(load.prefill_tokens));
        let fits = |len: usize| {
            let mut with = *load;
            with.add_prefill(start, len);
            self.cautious(&with) <= bound
        };
        let smallest = want.min(MIN_CHUNK);
        let (mut low, mut high) = (0, most);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        if low == want {
            return want;
        }
        let chunk = low - low % MIN_CHUNK;
        match (chunk >= smallest, load.prefill_tokens) {
            (true, _) => chunk,
            (false, 0) => smallest,
            (false, _) => 0,
        }
    }
}

fn dot(a: &[f64; TERMS], b: &[f64; TERMS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 ms + 0.05 ms per prompt token + 1 ms per 16,384 token pairs + 0.5 ms per decoding row.
    fn true_cost(load: &StepLoad) -> Duration {
        let ms = 2.0
            + 0.05 * load.prefill_tokens as f64
            + load.prefill_work / 16384.0
            + 0.5 * load.decode_rows as f64;
        Duration::from_secs_f64(ms / 1e3)
    }

    fn load(decodes: usize, start: usize, prefill: usize) -> StepLoad {
        let mut load = StepLoad::default();
        (0..decodes).for_each(|_| load.add_decode(100));
        if prefill > 0 {
            load.add_prefill(start, prefill);
        }
        load
    }

    const BOUND: Duration = Duration::from_millis(20);

    #[test]
    fn starts_with_the_smallest_chunk_and_grows_to_what_fits() {
        let mut model = CostModel::default();
        let mut chunks = Vec::new();
        let mut start = 0;
        for _ in 0..40 {
            let chunk = model.limit(&load(8, 0, 0), start, 4096, BOUND);
            let step = load(8, start, chunk);
            assert!(true_cost(&step) <= BOUND, "{chunks:?} then {chunk} at {start}");
            model.observe(&step, true_cost(&step));
            start += chunk;
            chunks.push(chunk);
        }
        assert_eq!(chunks[0], MIN_CHUNK);
        let last = load(8, start, chunks[39]);
        assert!(true_cost(&last) > BOUND / 2, "wasteful: {chunks:?}");
        assert!(chunks.iter().all(|chunk| chunk % MIN_CHUNK == 0));
    }

    #[test]
    fn a_long_phase_of_decoding_does_not_forget_what_prompts_cost() {
        let mut model = CostModel::default();
        for round in 0..60 {
            let step = load(8, (round % 8) * 100, 16 * (1 + round % 10));
            model.observe(&step, true_cost(&step));
        }
        for round in 0..5000 {
            let step = load(1 + round % 8, 0, 0);
            model.observe(&step, true_cost(&step));
        }
        let chunk = model.limit(&load(8, 0, 0), 0, 4096, BOUND);
        assert!(true_cost(&load(8, 0, chunk)) <= BOUND);
        assert!(chunk >= 64, "{chunk}");
    }

    #[test]
    fn follows_a_lasting_slowdown_and_shrugs_off_one_stall() {
        let mut model = CostModel::default();
        for round in 0..100 {
            let step = load(4, 0, 16 * (1 + round % 8));
            model.observe(&step, true_cost(&step));
        }
        let before = model.limit(&load(4, 0, 0), 0, 4096, BOUND);
        model.observe(&load(4, 0, 64), Duration::from_secs(5));
        let after = model.limit(&load(4, 0, 0), 0, 4096, BOUND);
        assert!(after * 2 >= before, "{before} to {after}");
        for round in 0..400 {
            let step = load(4, 0, 16 * (1 + round % 8));
            model.observe(&step, 2 * true_cost(&step));
        }
        let slow = model.limit(&load(4, 0, 0), 0, 4096, BOUND);
        assert!(2 * true_cost(&load(4, 0, slow)) <= BOUND, "{slow}");
    }

    #[test]
    fn prompts_make_progress_when_nothing_fits() {
        let mut model = CostModel::default();
        for _ in 0..20 {
            model.observe(&load(8, 0, 16), Duration::from_millis(500));
        }
        assert_eq!(model.limit(&load(8, 0, 0), 0, 4096, BOUND), MIN_CHUNK);
        assert_eq!(model.limit(&load(8, 0, 0), 0, 5, BOUND), 5);
        assert_eq!(model.limit(&load(8, 0, 16), 0, 4096, BOUND), 0);
    }
}
