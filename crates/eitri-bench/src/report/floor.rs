//! The least time that a step can take, and how a measured one compares.

use serde::{Deserialize, Serialize};

use super::{
    bytes::{ModelBytes, Routing},
    device::{Arithmetic, Device, Limits},
    figures::Figures,
};

/// The practical bandwidth is itself measured; this share below it is not remarkable.
const PRACTICAL_TOLERANCE: f64 = 0.02;
/// How far the mean gap may be from the mean time per token if every event is one token.
const ONE_TOKEN_PER_EVENT: f64 = 0.05;

/// What a run asked of the model, as far as bounds depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Sequences in a step: the most that run at once.
    pub batch: usize,
    /// Tokens behind a sequence in the middle of its answer.
    pub context: f64,
    /// Tokens of a prompt.
    pub prompt: f64,
}

impl Shape {
    /// Of a run, from its totals; none where nothing was answered.
    pub fn of(figures: &Figures) -> Option<Self> {
        let completed = figures.completed as f64;
        if figures.completed == 0 {
            return None;
        }
        let prompt = figures.total_input_tokens as f64 / completed;
        let answer = figures.total_output_tokens as f64 / completed;
        let batch = figures.max_concurrency.unwrap_or(figures.completed).min(figures.completed);
        Some(Self { batch, context: prompt + answer / 2.0, prompt })
    }
}

/// Whether a time can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It respects every bound that is known.
    Possible,
    /// It would need more than the bandwidth that has been measured on the device.
    BeatsPractical,
    /// It would need more than the device's nominal bandwidth.
    BeatsNominal,
    /// What a step reads fits in the device's cache, so its bandwidth is no bound.
    FitsInCache,
}

impl Verdict {
    /// Whether a reader has to be warned.
    pub fn is_alarm(self) -> bool {
        matches!(self, Self::BeatsPractical | Self::BeatsNominal)
    }
}

/// The bounds of a run's steps and how its times compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The bounds hold for this.
    pub shape: Shape,
    /// Least bytes that a step reads: of sparse models with all sequences choosing the same experts.
    pub bytes_per_step: f64,
    /// The same per generated token.
    pub bytes_per_token: f64,
    /// Bytes of a step of a sparse model if tokens choose their experts evenly.
    pub bytes_per_step_even: Option<f64>,
    /// Least milliseconds of a step at the nominal bandwidth.
    pub nominal_ms: Option<f64>,
    /// The same at the practical bandwidth.
    pub practical_ms: Option<f64>,
    /// At the practical bandwidth, if tokens choose their experts evenly.
    pub practical_even_ms: Option<f64>,
    /// The measured time of a step: see [`step_ms`].
    pub step_ms: f64,
    /// Nominal floor by measured time: 1 is at the floor, more than 1 is impossible.
    pub nominal_share: Option<f64>,
    /// Practical floor by measured time.
    pub practical_share: Option<f64>,
    /// 10^9 bytes per second that the measured time would need.
    pub implied_gbps: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// The time of a decode step that figures show, in milliseconds: the mean time per output token, or
/// with several clients the median gap, since the mean then holds waits for other prompts. The gap says
/// nothing where events bring several tokens or arrive in bunches.
pub fn step_ms(figures: &Figures) -> Option<f64> {
    let (tpot, itl) = (&figures.tpot, &figures.itl);
    if tpot.mean <= 0.0 {
        return None;
    }
    let alone = figures.max_concurrency == Some(1) || figures.completed == 1;
    let one_by_one = (itl.mean / tpot.mean - 1.0).abs() <= ONE_TOKEN_PER_EVENT;
    let gap = (!alone && one_by_one && !figures.bunched && itl.median > 0.0).then_some(itl.median);
    Some(gap.map_or(tpot.mean, |gap| gap.min(tpot.mean)))
}

impl Floor {
    /// Holds figures against what `bytes` need on `device`; none where nothing was decoded.
    pub fn judge(figures: &Figures, bytes: &ModelBytes, device: &Device) -> Option<Self> {
        let shape = Shape::of(figures)?;
        let step_ms = step_ms(figures)?;
        let Shape { batch, context, .. } = shape;
        let bytes_per_step = bytes.step(batch, context, Routing::Same);
        let even = bytes.experts.map(|_| bytes.step(batch, context, Routing::Even));
        let nominal_ms = device.nominal.map(|limits| milliseconds(bytes_per_step, &limits));
        let practical_ms = device.practical.map(|limits| milliseconds(bytes_per_step, &limits));
        let share = |floor: Option<f64>| floor.map(|floor| floor / step_ms);
        let (nominal_share, practical_share) = (share(nominal_ms), share(practical_ms));
        let verdict = if bytes_per_step <= device.cache_bytes as f64 {
            Verdict::FitsInCache
        } else if nominal_share.is_some_and(|share| share > 1.0) {
            Verdict::BeatsNominal
        } else if practical_share.is_some_and(|share| share > 1.0 + PRACTICAL_TOLERANCE) {
            Verdict::BeatsPractical
        } else {
            Verdict::Possible
        };
        Some(Self {
            shape,
            bytes_per_step,
            bytes_per_token: bytes_per_step / batch as f64,
            bytes_per_step_even: even,
            nominal_ms,
            practical_ms,
            practical_even_ms: even
                .and_then(|even| Some(milliseconds(even, device.practical.as_ref()?))),
            step_ms,
            nominal_share,
            practical_share,
            implied_gbps: bytes_per_step / step_ms / 1e6,
            verdict,
        })
    }
}

fn milliseconds(bytes: f64, limits: &Limits) -> f64 {
    bytes / limits.gbps / 1e6
}

/// Least milliseconds to read a prompt of `tokens` of which nothing is cached and to generate its
/// first token: the longer of arithmetic and of reading the weights, experts chosen evenly. None
/// where the operations per second of the device are not known.
pub(super) fn prefill_ms(
    bytes: &ModelBytes,
    tokens: f64,
    arithmetic: Arithmetic,
    limits: &Limits,
) -> Option<f64> {
    let rates = limits.teraflops?;
    let matrices = bytes.matrix_operations(tokens) / rates.of(arithmetic) / 1e9;
    // Attention is computed in 16 bits whatever the weights are.
    let attention = bytes.attention_operations(tokens) / rates.bf16 / 1e9;
    let read = milliseconds(bytes.weights(tokens.round() as usize, Routing::Even), limits);
    Some((matrices + attention).max(read))
}

/// Milliseconds of a decode step at a bandwidth, experts chosen evenly.
pub(super) fn decode_ms(bytes: &ModelBytes, shape: &Shape, limits: &Limits) -> f64 {
    milliseconds(bytes.step(shape.batch, shape.context, Routing::Even), limits)
}
