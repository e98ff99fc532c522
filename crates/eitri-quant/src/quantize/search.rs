//! How scales are chosen so that the error is small.
//!
//! Codes follow from a scale by rounding, and the best scale for given codes follows from the codes
//! by weighted least squares. The error as a function of the scale has many local minima, so a
//! number of trial scales around the one that just spans the values is rounded and fitted, and the
//! fit that explains most is kept. This is the principle of ggml's quantisers
//! (`make_qx_quants`, `make_qkx2_quants`).

use half::f16;

/// Values that are computed side by side, so that sums vectorise.
const LANES: usize = 8;

/// Below this magnitude every scale is zero as f16.
const NEGLIGIBLE: f32 = 1e-9;

/// The nearest integer, ties to even, for magnitudes below 2^22: what is added leaves no bits for a
/// fraction. Unlike `f32::round_ties_even` it needs no instruction beyond the baseline.
pub(super) fn nearest(value: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT) - SHIFT
}

/// 1 / `scale`, or 0 for 0.
pub(super) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// `scale` as it will be stored.
pub(super) fn stored(scale: f32) -> (f32, [u8; 2]) {
    let scale = f16::from_f32(scale);
    (scale.to_f32(), scale.to_le_bytes())
}

/// Large values matter more to a product than small ones; the mean keeps small ones in the game.
pub(super) fn weights<const N: usize>(values: &[f32; N]) -> [f32; N] {
    let mean = (values.iter().map(|value| value * value).sum::<f32>() / N as f32).sqrt();
    values.map(|value| mean + value.abs())
}

/// The scale `d` of `value = d q` with `q` from `-levels` to `levels - 1`. It is negative when the
/// largest magnitude is positive, so that this value gets the code `-levels`.
pub(super) fn symmetric<const N: usize>(values: &[f32; N], weights: &[f32; N], levels: f32) -> f32 {
    let extreme = extreme(values);
    if extreme.abs() < NEGLIGIBLE {
        return 0.0;
    }
    let (mut scale, mut most) = (-extreme / levels, 0.0);
    for step in -9..=9_i8 {
        let inverse = -(levels + 0.1 * f32::from(step)) / extreme;
        let (mut products, mut squares) = ([0.0; LANES], [0.0; LANES]);
        for (values, weights) in lanes(values, weights) {
            let codes = values.map(|value| nearest(inverse * value).clamp(-levels, levels - 1.0));
            add(&mut products, |i| weights[i] * values[i] * codes[i]);
            add(&mut squares, |i| weights[i] * codes[i] * codes[i]);
        }
        let (products, squares) = (sum(products), sum(squares));
        // What is left of the squared error falls by this much.
        let explained = if squares > 0.0 { products * products / squares } else { 0.0 };
        if explained > most {
            (scale, most) = (products / squares, explained);
        }
    }
    scale
}

/// Where the smallest code of [`affine`] may lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Minimum {
    Any,
    /// Formats that subtract an unsigned minimum.
    NotPositive,
}

/// `value = scale q + min`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) min: f32,
}

/// The scale and minimum for codes `q` from 0 to `levels`.
pub(super) fn affine<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    levels: f32,
    minimum: Minimum,
) -> Affine {
    let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
    let floor = if minimum == Minimum::NotPositive { lowest.min(0.0) } else { lowest };
    // Sums of distances from the smallest value lose less to rounding than those of the values.
    let distances = values.map(|value| value - floor);
    let range = distances.iter().copied().fold(0.0, f32::max);
    if range < NEGLIGIBLE {
        return Affine { scale: 0.0, min: floor };
    }
    let fit = Fit {
        values: &distances,
        weights,
        levels,
        largest_min: if minimum == Minimum::NotPositive { -floor } else { f32::INFINITY },
        weight: lanes_sum(weights, weights, |_, weight| weight),
        total: lanes_sum(&distances, weights, |value, weight| value * weight),
    };
    let mut best = (Affine { scale: range / levels, min: 0.0 }, f32::NEG_INFINITY);
    for step in -10..=10_i8 {
        let candidate = fit.refit((levels + 0.1 * f32::from(step)) / range, 0.0);
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    for _ in 0..2 {
        let candidate = fit.refit(inverse(best.0.scale), best.0.min);
        if candidate.1 > best.1 {
            best = candidate;
        }
    }
    Affine { scale: best.0.scale, min: floor + best.0.min }
}

struct Fit<'a, const N: usize> {
    values: &'a [f32; N],
    weights: &'a [f32; N],
    levels: f32,
    largest_min: f32,
    /// Sum of the weights.
    weight: f32,
    /// Weighted sum of the values.
    total: f32,
}

impl<const N: usize> Fit<'_, N> {
    /// Rounds with one scale and minimum, and fits others to the codes. The second result grows as
    /// the error falls.
    fn refit(&self, inverse: f32, min: f32) -> (Affine, f32) {
        let (mut codes, mut squares, mut products) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for (values, weights) in lanes(self.values, self.weights) {
            let rounded =
                values.map(|value| nearest(inverse * (value - min)).clamp(0.0, self.levels));
            add(&mut codes, |i| weights[i] * rounded[i]);
            add(&mut squares, |i| weights[i] * rounded[i] * rounded[i]);
            add(&mut products, |i| weights[i] * rounded[i] * values[i]);
        }
        let (codes, squares, products) = (sum(codes), sum(squares), sum(products));
        let determinant = self.weight * squares - codes * codes;
        if determinant <= 0.0 {
            return (Affine { scale: 0.0, min: 0.0 }, f32::NEG_INFINITY);
        }
        let mut scale = (self.weight * products - self.total * codes) / determinant;
        let mut min = (squares * self.total - codes * products) / determinant;
        if min > self.largest_min {
            min = self.largest_min;
            scale = (products - min * codes) / squares;
        }
        let explained = scale * (2.0 * (products - min * codes) - scale * squares)
            + min * (2.0 * self.total - min * self.weight);
        (Affine { scale, min }, explained)
    }
}

/// Weighted squared error of codes from `lowest` to `highest` with this scale and minimum.
pub(super) fn error<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    fit: Affine,
    (lowest, highest): (f32, f32),
) -> f32 {
    let inverse = inverse(fit.scale);
    lanes_sum(values, weights, |value, weight| {
        let code = nearest(inverse * (value - fit.min)).clamp(lowest, highest);
        let difference = value - fit.min - fit.scale * code;
        weight * difference * difference
    })
}

/// The value of largest magnitude.
fn extreme(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    values.iter().copied().fold(0.0, larger)
}

fn lanes<'a, const N: usize>(
    values: &'a [f32; N],
    weights: &'a [f32; N],
) -> impl Iterator<Item = (&'a [f32; LANES], &'a [f32; LANES])> {
    const { assert!(N.is_multiple_of(LANES)) };
    values.as_chunks().0.iter().zip(weights.as_chunks().0)
}

fn lanes_sum<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    term: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut sums = [0.0; LANES];
    for (values, weights) in lanes(values, weights) {
        add(&mut sums, |i| term(values[i], weights[i]));
    }
    sum(sums)
}

/// Adds a term to the sum of each lane.
fn add(sums: &mut [f32; LANES], term: impl Fn(usize) -> f32) {
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum += term(i);
    }
}

fn sum(lanes: [f32; LANES]) -> f32 {
    lanes.iter().sum()
}
